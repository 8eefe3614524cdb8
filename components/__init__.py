"""Steps of the pipelines, one folder each: component.py is the interface, the files beside it the logic."""
