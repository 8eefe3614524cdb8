# A network that the steps of a run reach, for databases and services without public addresses. Vertex AI enters it by a
# Private Service Connect interface; traffic to Google's own APIs does not pass through it.

variable "project" {
  description = "Id of the project."
  type        = string
}

variable "region" {
  description = "Of the runs."
  type        = string
}

variable "range" {
  description = "Addresses of the subnet."
  type        = string
}

variable "agent" {
  description = "Vertex AI's service agent, as a member."
  type        = string
}

resource "google_compute_network" "this" {
  name                    = "kep"
  auto_create_subnetworks = false
}

resource "google_compute_subnetwork" "runs" {
  name                     = "kep-runs"
  network                  = google_compute_network.this.id
  region                   = var.region
  ip_cidr_range            = var.range
  private_ip_google_access = true
}

# Vertex AI adds the project that its machines are in to the ones that may connect, and nobody else does.
resource "google_compute_network_attachment" "runs" {
  name                  = "kep-runs"
  region                = var.region
  connection_preference = "ACCEPT_MANUAL"
  subnetworks           = [google_compute_subnetwork.runs.id]

  lifecycle {
    ignore_changes = [producer_accept_lists]
  }
}

# The documented alternative to roles/compute.networkAdmin.
resource "google_project_iam_custom_role" "connect" {
  role_id     = "kepNetworkAttachments"
  title       = "Connects runs of Vertex AI to a network"
  permissions = ["compute.networkAttachments.get", "compute.networkAttachments.update", "compute.regionOperations.get"]
}

resource "google_project_iam_member" "connect" {
  project = var.project
  member  = var.agent
  role    = google_project_iam_custom_role.connect.id
}

output "attachment" {
  description = "--network of `kep submit`, once Vertex AI may connect."
  value       = "projects/${var.project}/regions/${var.region}/networkAttachments/${google_compute_network_attachment.runs.name}"
  depends_on  = [google_project_iam_member.connect]
}
