//! Tests of the pipeline, most of them with an engine that gives set answers: what is asked of it, and what its
//! answers become.

mod check;
mod classes;
mod clients;
mod exchange;
mod handler;
mod options;
mod reply;
mod scope;
mod security;
pub(super) mod world;
