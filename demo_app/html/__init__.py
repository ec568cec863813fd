"""Plain values as HTML; everything that a visitor or the model wrote is escaped here."""
