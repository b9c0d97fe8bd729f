//! The Lambda function `on_dead_letter`.

fn main() -> std::process::ExitCode {
    shared::runtime::Trigger::main(on_dead_letter::trigger)
}
