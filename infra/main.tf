# What the pipeline needs on Google Cloud: a bucket, two repositories, four service accounts with the roles of
# docs/explanation/trust-and-security.md and no others, and the triggers that build. What else a team may want is a
# module under modules/, and each is off until its variable is set.
#
#   gcloud services enable serviceusage.googleapis.com cloudresourcemanager.googleapis.com --project shop-ml
#   terraform init && terraform apply -var project=shop-ml -var bucket=shop-data -var github_owner=shop \
#     -var github_repository=ml -var base_image=python@sha256:… -var docker_image=…@sha256:…
#
# The first line is for a project that is new: Terraform itself looks at it through these two APIs.

terraform {
  required_version = ">= 1.5"
  required_providers {
    google = {
      source  = "hashicorp/google"
      version = "~> 6.0"
    }
    google-beta = {
      source  = "hashicorp/google-beta"
      version = "~> 6.0"
    }
  }
}

provider "google" {
  project = var.project
  region  = var.region
}

provider "google-beta" {
  project = var.project
  region  = var.region
}

# The API of budgets asks which project pays for its calls, which a person's login does not say.
provider "google" {
  alias                 = "billing"
  project               = var.project
  billing_project       = var.project
  user_project_override = true
}

data "google_project" "this" {
  project_id = var.project
  depends_on = [google_project_service.apis]
}

resource "google_project_service" "apis" {
  for_each = toset(concat(
    [
      "aiplatform.googleapis.com",
      "artifactregistry.googleapis.com",
      "cloudbuild.googleapis.com",
      "cloudresourcemanager.googleapis.com",
      "iam.googleapis.com",
      "logging.googleapis.com",
      "storage.googleapis.com",
    ],
    var.network ? ["compute.googleapis.com"] : [],
    var.cmek ? ["cloudkms.googleapis.com"] : [],
    length(var.bigquery_datasets) > 0 ? ["bigquery.googleapis.com"] : [],
    length(var.alert_emails) > 0 ? ["monitoring.googleapis.com"] : [],
    length(var.secrets) > 0 ? ["secretmanager.googleapis.com"] : [],
    var.budget > 0 ? ["billingbudgets.googleapis.com", "cloudbilling.googleapis.com"] : [],
  ))
  service            = each.value
  disable_on_destroy = false
}

# Enabling an API makes no service agent: that happens on first use, after roles were to be granted to it. This makes
# all of the project's agents of Vertex AI, and of Artifact Registry.
resource "google_project_service_identity" "agents" {
  provider   = google-beta
  for_each   = toset(["aiplatform.googleapis.com", "artifactregistry.googleapis.com"])
  service    = each.value
  depends_on = [google_project_service.apis]
}

locals {
  vertex_agents = {
    for name in ["gcp-sa-aiplatform", "gcp-sa-aiplatform-cc"] :
    name => "serviceAccount:service-${data.google_project.this.number}@${name}.iam.gserviceaccount.com"
  }
}

# Records, artifacts, champions, compiled pipelines. The region is that of the runs: they would pay for every byte.
resource "google_storage_bucket" "pipelines" {
  name                        = var.bucket
  location                    = var.region
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  depends_on                  = [google_project_service.apis]

  dynamic "encryption" {
    for_each = module.cmek[*].key
    content {
      default_kms_key_name = encryption.value
    }
  }

  # The pointer of the champions is the one object that is replaced; its earlier generations say who served when.
  versioning {
    enabled = true
  }

  # Artifacts of runs are made again by running again; what was promoted lies under champions/.
  lifecycle_rule {
    condition {
      age            = var.keep_runs_days
      matches_prefix = ["runs/"]
    }
    action {
      type = "Delete"
    }
  }
  lifecycle_rule {
    condition {
      days_since_noncurrent_time = 90
    }
    action {
      type = "Delete"
    }
  }
}

resource "google_artifact_registry_repository" "images" {
  repository_id = "images"
  location      = var.region
  format        = "DOCKER"
  kms_key_name  = one(module.cmek[*].key)
  docker_config {
    immutable_tags = true
  }
  depends_on = [google_project_service.apis]
}

resource "google_artifact_registry_repository" "templates" {
  repository_id = "templates"
  location      = var.region
  format        = "KFP"
  kms_key_name  = one(module.cmek[*].key)
  depends_on    = [google_project_service.apis]
}

# --- who builds, who submits, what the steps run as

resource "google_service_account" "build" {
  account_id   = "kep-build"
  display_name = "Builds, tests and publishes the pipeline"
  depends_on   = [google_project_service.apis]
}

# The code of a pull request is nobody's yet: what runs it may write logs and nothing else.
resource "google_service_account" "check" {
  account_id   = "kep-check"
  display_name = "Tests pull requests"
  depends_on   = [google_project_service.apis]
}

resource "google_service_account" "submit" {
  account_id   = "kep-submit"
  display_name = "Submits and schedules runs"
  depends_on   = [google_project_service.apis]
}

resource "google_service_account" "steps" {
  account_id   = "kep-steps"
  display_name = "The steps of a run"
  depends_on   = [google_project_service.apis]
}

locals {
  accounts = {
    build  = google_service_account.build.member
    check  = google_service_account.check.member
    submit = google_service_account.submit.member
    steps  = google_service_account.steps.member
  }
  on_project = {
    "build logging.logWriter" = { account = "build", role = "roles/logging.logWriter" }
    "check logging.logWriter" = { account = "check", role = "roles/logging.logWriter" }
    "submit aiplatform.user"  = { account = "submit", role = "roles/aiplatform.user" }
    "steps aiplatform.user"   = { account = "steps", role = "roles/aiplatform.user" }
    "steps logging.logWriter" = { account = "steps", role = "roles/logging.logWriter" }
  }
  on_bucket = {
    "build storage.objectCreator" = { account = "build", role = "roles/storage.objectCreator" }
    "submit storage.objectViewer" = { account = "submit", role = "roles/storage.objectViewer" }
    "steps storage.objectUser"    = { account = "steps", role = "roles/storage.objectUser" }
  }
  on_repository = {
    "build images"     = { account = "build", role = "roles/artifactregistry.writer", repository = "images" }
    "build templates"  = { account = "build", role = "roles/artifactregistry.writer", repository = "templates" }
    "submit templates" = { account = "submit", role = "roles/artifactregistry.reader", repository = "templates" }
  }
}

resource "google_project_iam_member" "roles" {
  for_each = local.on_project
  project  = var.project
  member   = local.accounts[each.value.account]
  role     = each.value.role
}

resource "google_storage_bucket_iam_member" "roles" {
  for_each = local.on_bucket
  bucket   = google_storage_bucket.pipelines.name
  member   = local.accounts[each.value.account]
  role     = each.value.role
}

resource "google_artifact_registry_repository_iam_member" "roles" {
  for_each   = local.on_repository
  repository = each.value.repository
  location   = var.region
  member     = local.accounts[each.value.account]
  role       = each.value.role
  depends_on = [google_artifact_registry_repository.images, google_artifact_registry_repository.templates]
}

# Whoever submits makes runs that act as the steps' account, and as no other.
resource "google_service_account_iam_member" "submit_as_steps" {
  service_account_id = google_service_account.steps.name
  member             = google_service_account.submit.member
  role               = "roles/iam.serviceAccountUser"
}

# A step on machines that only a custom job can have submits that job, which runs as the same account.
resource "google_service_account_iam_member" "steps_as_steps" {
  service_account_id = google_service_account.steps.name
  member             = google_service_account.steps.member
  role               = "roles/iam.serviceAccountUser"
}

# Vertex AI itself pulls the images.
resource "google_artifact_registry_repository_iam_member" "vertex_pulls" {
  for_each   = local.vertex_agents
  repository = google_artifact_registry_repository.images.name
  location   = var.region
  member     = each.value
  role       = "roles/artifactregistry.reader"
  depends_on = [google_project_service_identity.agents]
}

# --- each merge is tested, built, pinned, compiled and published; each pull request is tested and compiled

resource "google_cloudbuild_trigger" "merge" {
  count           = var.github_repository == "" ? 0 : 1
  name            = "kep-merge"
  location        = var.region
  filename        = "cloudbuild.yaml"
  service_account = google_service_account.build.id
  depends_on      = [google_project_service.apis]
  github {
    owner = var.github_owner
    name  = var.github_repository
    push {
      branch = "^main$"
    }
  }
  substitutions = {
    _BASE            = var.base_image
    _DOCKER          = var.docker_image
    _REPOSITORY      = "${var.region}-docker.pkg.dev/${var.project}/${google_artifact_registry_repository.images.name}"
    _TEMPLATES       = "https://${var.region}-kfp.pkg.dev/${var.project}/${google_artifact_registry_repository.templates.name}"
    _BUCKET          = google_storage_bucket.pipelines.name
    _SERVICE_ACCOUNT = google_service_account.build.email
  }
}

resource "google_cloudbuild_trigger" "pull_request" {
  count           = var.github_repository == "" ? 0 : 1
  name            = "kep-pull-request"
  location        = var.region
  filename        = "cloudbuild-pr.yaml"
  service_account = google_service_account.check.id
  depends_on      = [google_project_service.apis]
  github {
    owner = var.github_owner
    name  = var.github_repository
    pull_request {
      branch          = "^main$"
      comment_control = "COMMENTS_ENABLED_FOR_EXTERNAL_CONTRIBUTORS_ONLY"
    }
  }
  substitutions = {
    _BASE            = var.base_image
    _SERVICE_ACCOUNT = google_service_account.check.email
  }
}

# --- what is off until its variable is set; each waits for the APIs

# The bucket of Terraform's own state. A backend is read before any variable, so no variable can switch it: apply once
# with -var state_bucket=NAME and the state beside these files, copy backend.tf.example to backend.tf, and run
# `terraform init -migrate-state -backend-config=bucket=NAME`, which brings the state there. From then on it is shared.
module "state" {
  source     = "./modules/state"
  count      = var.state_bucket == "" ? 0 : 1
  name       = var.state_bucket
  region     = var.region
  depends_on = [google_project_service.apis]
}

module "network" {
  source     = "./modules/network"
  count      = var.network ? 1 : 0
  project    = var.project
  region     = var.region
  range      = var.network_range
  agent      = local.vertex_agents["gcp-sa-aiplatform"]
  depends_on = [google_project_service.apis, google_project_service_identity.agents]
}

module "cmek" {
  source  = "./modules/cmek"
  count   = var.cmek ? 1 : 0
  project = var.project
  region  = var.region
  agents = merge(local.vertex_agents, {
    artifactregistry = google_project_service_identity.agents["artifactregistry.googleapis.com"].member
  })
  depends_on = [google_project_service.apis, google_project_service_identity.agents]
}

module "bigquery" {
  source     = "./modules/bigquery"
  count      = length(var.bigquery_datasets) > 0 ? 1 : 0
  project    = var.project
  datasets   = var.bigquery_datasets
  members    = { for name in ["submit", "steps"] : name => local.accounts[name] }
  depends_on = [google_project_service.apis]
}

module "alerts" {
  source     = "./modules/alerts"
  count      = length(var.alert_emails) > 0 ? 1 : 0
  emails     = var.alert_emails
  depends_on = [google_project_service.apis]
}

module "secrets" {
  source     = "./modules/secrets"
  count      = length(var.secrets) > 0 ? 1 : 0
  names      = var.secrets
  region     = var.region
  steps      = google_service_account.steps.member
  depends_on = [google_project_service.apis]
}

module "budget" {
  source          = "./modules/budget"
  count           = var.budget > 0 ? 1 : 0
  providers       = { google = google.billing }
  billing_account = var.billing_account
  number          = data.google_project.this.number
  amount          = var.budget
  depends_on      = [google_project_service.apis]
}
