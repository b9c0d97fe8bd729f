//! The Lambda function `delete_schema`.

fn main() -> std::process::ExitCode {
    shared::http::lambda::main(delete_schema::function)
}
