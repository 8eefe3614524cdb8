# A key of the project's own, in the region of the runs, for the bucket, the repositories and what runs make.

variable "project" {
  description = "Id of the project."
  type        = string
}

variable "region" {
  description = "Of the runs: a key must be where they are."
  type        = string
}

variable "agents" {
  description = "Service agents that encrypt with the key, as members by name."
  type        = map(string)
}

# Asking for it makes it.
data "google_storage_project_service_account" "this" {
  project = var.project
}

resource "google_kms_key_ring" "this" {
  name     = "kep"
  location = var.region
}

resource "google_kms_crypto_key" "this" {
  name            = "kep"
  key_ring        = google_kms_key_ring.this.id
  rotation_period = "7776000s" # 90 days

  # Without the key nothing of what it encrypted can be read again.
  lifecycle {
    prevent_destroy = true
  }
}

resource "google_kms_crypto_key_iam_member" "agents" {
  for_each      = merge(var.agents, { storage = data.google_storage_project_service_account.this.member })
  crypto_key_id = google_kms_crypto_key.this.id
  member        = each.value
  role          = "roles/cloudkms.cryptoKeyEncrypterDecrypter"
}

output "key" {
  description = "Its full name, once the agents may use it."
  value       = google_kms_crypto_key.this.id
  depends_on  = [google_kms_crypto_key_iam_member.agents]
}
