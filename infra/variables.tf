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

variable "state_bucket" {
  description = "Name of the bucket to make for Terraform's state; none without it."
  type        = string
  default     = ""
}

variable "network" {
  description = "Whether to make a network that runs reach through a Private Service Connect interface."
  type        = bool
  default     = false
}

variable "network_range" {
  description = "Addresses of that network, at least a /28."
  type        = string
  default     = "10.10.0.0/24"
}

variable "cmek" {
  description = "Whether bucket, repositories and runs are encrypted with a key of this project's own."
  type        = bool
  default     = false
}

variable "bigquery_datasets" {
  description = "Ids of the data sets that the pipeline may read; none without them."
  type        = set(string)
  default     = []
}

variable "alert_emails" {
  description = "Who is told by e-mail that a run has failed; no alert without them."
  type        = set(string)
  default     = []
}

variable "secrets" {
  description = "Names of secrets that the steps may read; none without them."
  type        = set(string)
  default     = []
}

variable "budget" {
  description = "Amount a month, in the billing account's currency, that the project should not exceed; 0 for no budget."
  type        = number
  default     = 0
}

variable "billing_account" {
  description = "Id of the billing account, which a budget needs."
  type        = string
  default     = ""
  validation {
    condition     = var.billing_account == "" || can(regex("^[0-9A-F]{6}-[0-9A-F]{6}-[0-9A-F]{6}$", var.billing_account))
    error_message = "billing_account is not of the form 012345-6789AB-CDEF01; \"gcloud billing accounts list\" lists them."
  }
}
