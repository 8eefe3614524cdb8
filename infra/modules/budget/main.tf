# E-mails to the billing account's administrators as the month's cost of the project nears an amount. It stops nothing:
# `hardware.max_cost` of a run file refuses a run before it starts.

terraform {
  required_providers {
    google = {
      source = "hashicorp/google"
    }
  }
}

variable "billing_account" {
  description = "Id of the billing account."
  type        = string
}

variable "number" {
  description = "The project's number."
  type        = string
}

variable "amount" {
  description = "A month, in the account's currency."
  type        = number
}

resource "google_billing_budget" "month" {
  billing_account = var.billing_account
  display_name    = "kep: a month's cost"
  budget_filter {
    projects = ["projects/${var.number}"]
  }
  amount {
    specified_amount {
      units = tostring(floor(var.amount))
    }
  }
  dynamic "threshold_rules" {
    for_each = [0.5, 0.9, 1.0]
    content {
      threshold_percent = threshold_rules.value
    }
  }
  threshold_rules {
    threshold_percent = 1.0
    spend_basis       = "FORECASTED_SPEND"
  }

  lifecycle {
    precondition {
      condition     = var.billing_account != ""
      error_message = "A budget needs the id of the billing account: set billing_account."
    }
  }
}
