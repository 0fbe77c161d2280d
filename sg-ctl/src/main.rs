//! `sg-ctl`: see [`sg_ctl::cli`].

fn main() -> std::process::ExitCode {
    sg_ctl::cli::main()
}
