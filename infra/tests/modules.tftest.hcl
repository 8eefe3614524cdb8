# One plan with every module off, and one with each alone; `make test-infra` runs them with mocked providers.

mock_provider "google" {}
mock_provider "google-beta" {}
mock_provider "google" {
  alias = "billing"
}

variables {
  project = "shop-ml"
  bucket  = "shop-data"
}

run "all_off" {
  command = plan
  assert {
    condition = (
      length(module.state) == 0 && length(module.network) == 0 && length(module.cmek) == 0 &&
      length(module.bigquery) == 0 && length(module.alerts) == 0 && length(module.secrets) == 0 &&
      length(module.budget) == 0
    )
    error_message = "A module that no variable has switched on makes something."
  }
  assert {
    condition     = length(google_cloudbuild_trigger.merge) == 0
    error_message = "There is a trigger without a repository."
  }
  assert {
    condition     = contains(keys(google_project_service.apis), "cloudresourcemanager.googleapis.com")
    error_message = "The Resource Manager API is not enabled."
  }
}

run "triggers" {
  command = plan
  variables {
    github_owner      = "shop"
    github_repository = "ml"
  }
  assert {
    condition     = google_cloudbuild_trigger.merge[0].filename == "cloudbuild.yaml"
    error_message = "The trigger of merges builds something else."
  }
}

run "state" {
  command = plan
  variables {
    state_bucket = "shop-state"
  }
  assert {
    condition     = length(module.state) == 1 && output.state_bucket == "shop-state"
    error_message = "There is no bucket for the state."
  }
}

run "network" {
  command = plan
  variables {
    network = true
  }
  assert {
    condition     = length(module.network) == 1
    error_message = "There is no network."
  }
  assert {
    condition     = contains(keys(google_project_service.apis), "compute.googleapis.com")
    error_message = "The API of networks is not enabled."
  }
}

run "cmek" {
  command = plan
  variables {
    cmek = true
  }
  assert {
    condition     = length(module.cmek) == 1 && length(google_storage_bucket.pipelines.encryption) == 1
    error_message = "The bucket is not encrypted with the key."
  }
}

run "bigquery" {
  command = plan
  variables {
    bigquery_datasets = ["sales", "stock"]
  }
  assert {
    condition     = length(module.bigquery) == 1
    error_message = "There are no roles on the data sets."
  }
}

run "alerts" {
  command = plan
  variables {
    alert_emails = ["ml@shop.example"]
  }
  assert {
    condition     = length(module.alerts) == 1
    error_message = "There is no alert."
  }
}

run "secrets" {
  command = plan
  variables {
    secrets = ["database-password"]
  }
  assert {
    condition     = length(module.secrets) == 1
    error_message = "There are no secrets."
  }
}

run "budget" {
  command = plan
  variables {
    budget          = 500
    billing_account = "012345-6789AB-CDEF01"
  }
  assert {
    condition     = length(module.budget) == 1
    error_message = "There is no budget."
  }
}

run "budget_without_an_account" {
  command = plan
  module {
    source = "./modules/budget"
  }
  variables {
    billing_account = ""
    number          = "123456789012"
    amount          = 500
  }
  expect_failures = [google_billing_budget.month]
}

run "all_on" {
  command = plan
  variables {
    state_bucket      = "shop-state"
    network           = true
    cmek              = true
    bigquery_datasets = ["sales"]
    alert_emails      = ["ml@shop.example"]
    secrets           = ["database-password"]
    budget            = 500
    billing_account   = "012345-6789AB-CDEF01"
  }
  assert {
    condition     = length(google_project_service.apis) == 14
    error_message = "Modules that are on together miss an API."
  }
}
