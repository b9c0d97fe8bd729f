//! The Lambda function `update_connector`.

fn main() -> std::process::ExitCode {
    shared::http::lambda::main(update_connector::function)
}
