//! Words that every row uses: time, limits, labels, secrets. Types only; nothing here reads a clock.
