def render(whole):
    return "<html></html>"
