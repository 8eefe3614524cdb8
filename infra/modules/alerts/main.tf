# An e-mail when a run of Vertex AI has failed, whoever submitted it. A run file's `notify` tells more, and runs in the
# pipeline itself; this also tells where that could not run.

variable "emails" {
  description = "Addresses that are told."
  type        = set(string)
}

resource "google_monitoring_notification_channel" "email" {
  for_each     = var.emails
  display_name = "kep: ${each.value}"
  type         = "email"
  labels       = { email_address = each.value }
}

resource "google_monitoring_alert_policy" "failed" {
  display_name = "kep: a run has failed"
  combiner     = "OR"
  conditions {
    display_name = "A pipeline run has failed"
    condition_matched_log {
      filter = "resource.type=\"aiplatform.googleapis.com/PipelineJob\" AND log_id(\"aiplatform.googleapis.com/pipeline_job_events\") AND jsonPayload.state=\"PIPELINE_STATE_FAILED\""
      label_extractors = {
        run = "EXTRACT(resource.labels.pipeline_job_id)"
      }
    }
  }
  alert_strategy {
    auto_close = "86400s"
    notification_rate_limit {
      period = "300s"
    }
  }
  documentation {
    content = "`kep status RUN` says which step failed and why."
  }
  notification_channels = [for channel in google_monitoring_notification_channel.email : channel.id]
}
