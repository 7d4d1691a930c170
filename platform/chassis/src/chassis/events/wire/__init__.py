"""The wire format of events: attributes, headers, subjects, lanes."""
