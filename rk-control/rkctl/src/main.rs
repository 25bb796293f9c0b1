//! `rkctl`: configs, nodes and images, from the operator's desk.
//!
//! | part | what |
//! |---|---|
//! | [`args`] | the command line |
//! | [`connect`] | TLS to a node: by the authority, or in maintenance mode by a fingerprint |
//! | [`exit`] | outcomes by class, as exit codes |
//! | [`node`] | the verbs of the machine API, on one node or many |
//! | [`pki`] | authorities, certificates and tokens of a new cluster |
//! | [`generate`] | `config gen` and its relatives |
//! | [`cache`] | archives of container images |
//! | [`release`] | signing what machines are upgraded to |
//! | [`dashboard`], [`support`] | a terminal page, a bundle of evidence |

mod args;
mod cache;
mod connect;
mod context;
mod dashboard;
mod exit;
mod generate;
mod health;
mod image;
mod node;
mod output;
mod pki;
mod release;
mod support;

use args::{Args, Command};
use clap::{CommandFactory, Parser};
use exit::Class;
use std::process::ExitCode;

fn main() -> ExitCode {
    let args = Args::parse();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(err) => return exit::report(&anyhow::Error::new(err).context("starting the async runtime")),
    };
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        return exit::report(&anyhow::anyhow!("a TLS provider is installed already"));
    }
    match runtime.block_on(run(args)) {
        Ok(class) => class.into(),
        Err(err) => exit::report(&err),
    }
}

async fn run(args: Args) -> anyhow::Result<Class> {
    let Args { global, command } = args;
    match command {
        Command::Config(args::ConfigCommand::Live(command)) => node::config(&global, command).await,
        Command::Config(args::ConfigCommand::Paper(command)) => generate::run(global.print, command),
        Command::Node(verb) => node::run(&global, *verb).await,
        Command::Verb(verb) => node::on(&global, verb).await,
        Command::Health(wanted) => health::run(&global, &wanted).await,
        Command::Dashboard => dashboard::run(&global).await,
        Command::Support(wanted) => support::run(&global, &wanted).await,
        Command::Image(args::ImageCommand::Build(wanted)) => image::run(global.print, &wanted),
        Command::Image(args::ImageCommand::Key { name }) => release::make_key(global.print, &name),
        Command::Image(args::ImageCommand::Sign { key, image }) => release::sign(global.print, &key, &image),
        Command::Image(args::ImageCommand::Cache(command)) => cache::run(&global, &command).await,
        Command::Image(args::ImageCommand::Pulls { follow }) => node::pulls(&global, follow).await,
        Command::Completion { shell } => {
            clap_complete::generate(shell, &mut Args::command(), "rkctl", &mut std::io::stdout());
            Ok(Class::Good)
        }
    }
}
