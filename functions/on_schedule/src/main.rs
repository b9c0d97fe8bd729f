//! The Lambda function `on_schedule`.

fn main() -> std::process::ExitCode {
    shared::runtime::Trigger::main(on_schedule::trigger)
}
