"""An evaluated ensemble over HTTP: Vertex AI's contract for custom containers, and TensorFlow Serving's REST paths."""
