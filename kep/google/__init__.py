"""Google's clients and their retries."""
