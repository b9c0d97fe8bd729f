//! The Lambda function `get_connector`.

fn main() -> std::process::ExitCode {
    shared::http::lambda::main(get_connector::function)
}
