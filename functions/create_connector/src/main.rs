//! The Lambda function `create_connector`.

fn main() -> std::process::ExitCode {
    shared::http::lambda::main(create_connector::function)
}
