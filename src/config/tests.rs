//! Tests of the whole loader on files as users write them.
