//! Legacy to modern and back: a message and two revisions come in, edited bytes come out (pure).
