//! The system, seen from outside: a real stack, through HTTP.

mod api;
mod lists;
mod pipelines;
mod processes;
mod roles;
mod runs;
mod s3;
mod schedules;
