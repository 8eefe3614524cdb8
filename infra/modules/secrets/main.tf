# Secrets that steps read as their own account. Values are not Terraform's: they would stand in its state in plain text.
#
#   printf %s "$VALUE" | gcloud secrets versions add NAME --data-file=-

variable "names" {
  description = "Of the secrets."
  type        = set(string)
}

variable "region" {
  description = "Where their values are kept."
  type        = string
}

variable "steps" {
  description = "The account of the steps, as a member."
  type        = string
}

resource "google_secret_manager_secret" "this" {
  for_each  = var.names
  secret_id = each.value
  replication {
    user_managed {
      replicas {
        location = var.region
      }
    }
  }
}

resource "google_secret_manager_secret_iam_member" "read" {
  for_each  = var.names
  secret_id = google_secret_manager_secret.this[each.value].id
  member    = var.steps
  role      = "roles/secretmanager.secretAccessor"
}
