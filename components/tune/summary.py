def write_summary(folder):
    (folder / "summary.html").write_text("<html></html>")
