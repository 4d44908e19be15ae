//! Tests of the pipeline with an engine that gives set answers: what is asked of it, and what its answers become.

mod handler;
mod options;
mod reply;
mod scope;
mod security;
pub(super) mod world;
