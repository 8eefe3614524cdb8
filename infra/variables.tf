variable "project" {
  description = "Id of the Google Cloud project."
  type        = string
}

variable "region" {
  description = "Of the bucket, the repositories, the trigger and the runs."
  type        = string
  default     = "us-central1"
}

variable "bucket" {
  description = "Name of the bucket to make, unique in the world."
  type        = string
}

variable "keep_runs_days" {
  description = "Days after which the artifacts of a run are deleted; champions stay."
  type        = number
  default     = 180

  # A step is answered from runs of the last 90 days (kep/engines/vertex/jobs.py), and a run may take weeks.
  validation {
    condition     = var.keep_runs_days >= 120
    error_message = "keep_runs_days must be at least 120: steps are answered from runs of the last 90 days."
  }
}

variable "github_owner" {
  description = "Owner of the repository that is built, connected to Cloud Build before."
  type        = string
  default     = ""
}

variable "github_repository" {
  description = "Name of the repository that is built; no triggers without it."
  type        = string
  default     = ""
}

variable "base_image" {
  description = "_BASE of cloudbuild.yaml: Python 3.11 of Debian by digest."
  type        = string
  default     = ""
}

variable "docker_image" {
  description = "_DOCKER of cloudbuild.yaml: Cloud Build's docker builder by digest."
  type        = string
  default     = ""
}
