//! The Lambda function `delete_connector`.

fn main() -> std::process::ExitCode {
    shared::http::lambda::main(delete_connector::function)
}
