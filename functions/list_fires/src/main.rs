//! The Lambda function `list_fires`.

fn main() -> std::process::ExitCode {
    shared::http::lambda::main(list_fires::function)
}
