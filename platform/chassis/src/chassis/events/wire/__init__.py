"""What an event is on the wire: attributes, headers, subjects, lanes."""
