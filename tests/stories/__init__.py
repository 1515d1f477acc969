"""Users' stories: each is a page of docs/stories/, followed word for word with real client libraries."""
