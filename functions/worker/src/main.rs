//! The container that polls the queue and executes runs.

fn main() -> std::process::ExitCode {
    worker::start::start(worker::start::poll())
}
