//! Every task has an owner and a name and is joined; the only place that spawns tasks.
