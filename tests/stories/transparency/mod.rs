//! That nobody can tell there is a proxy: the same told directly and through us.
