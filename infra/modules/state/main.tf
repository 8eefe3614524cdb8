# The bucket of Terraform's state, which holds names and settings, and is worth as much as what it describes.

variable "name" {
  description = "Unique in the world."
  type        = string
}

variable "region" {
  description = "Of the bucket."
  type        = string
}

resource "google_storage_bucket" "state" {
  name                        = var.name
  location                    = var.region
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"

  # A state that was overwritten by mistake is found among the earlier ones.
  versioning {
    enabled = true
  }
  lifecycle_rule {
    condition {
      num_newer_versions = 50
    }
    action {
      type = "Delete"
    }
  }

  lifecycle {
    prevent_destroy = true
  }
}

output "name" {
  description = "Of the bucket."
  value       = google_storage_bucket.state.name
}
