"""A person looks at what an audit doubts: the journal of her verdicts and strokes, the page, its server and guard."""
