//! The Lambda function `get_schema`.

fn main() -> std::process::ExitCode {
    shared::http::lambda::main(get_schema::function)
}
