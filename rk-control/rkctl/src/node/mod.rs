//! The verbs, on one node or on many at once.

mod apply;
mod ask;
mod configs;
pub mod disk;
mod plan;
mod restart;
mod shapes;
mod stream;

use crate::args::{
    Apply, Certificates, Format, Global, Install, LiveConfig, NodeConfig, NodeVerb, Reach, Services, Store, Verb,
};
use crate::connect::{Client, Trust, connect};
use crate::context::Context;
use crate::exit::{Class, Failure, class_of_error, words};
use crate::{generate, image, output};
use anyhow::{Context as _, Result};
use restart::Deed;
use rk_machine_proto::v1::{self, Empty};
use serde_json::{Value, json};
use std::path::Path;
use std::time::Duration;
use tokio::task::JoinSet;

pub use ask::{Question, ask};

/// Nodes talked to at once.
const MOST_AT_ONCE: usize = 32;

/// Carries out a verb of `rkctl node`.
///
/// # Errors
/// What the node said, or that it was not reached.
pub async fn run(global: &Global, verb: NodeVerb) -> Result<Class> {
    match verb {
        NodeVerb::Config(NodeConfig::Live(command)) => config(global, command).await,
        NodeVerb::Config(NodeConfig::Validate { file }) => {
            question(global, Question::Validate(generate::read(&file)?)).await
        }
        NodeVerb::Other(verb) => on(global, verb).await,
    }
}

/// Gets or changes the config of nodes.
///
/// # Errors
/// What the node said, or that it was not reached.
pub async fn config(global: &Global, command: LiveConfig) -> Result<Class> {
    match command {
        LiveConfig::Get => {
            let (trust, nodes) = known(global)?;
            configs::show(global, nodes, trust).await
        }
        LiveConfig::Apply(wanted) => give(global, wanted).await,
        LiveConfig::Patch { patch, how } => {
            let patch = match patch.strip_prefix('@') {
                Some(path) => generate::read(path.as_ref())?,
                None => patch,
            };
            let (trust, nodes) = known(global)?;
            apply::run(global, nodes, trust, apply::What::Patch(patch), how).await
        }
        LiveConfig::Confirm => question(global, Question::Confirm).await,
    }
}

async fn give(global: &Global, wanted: Apply) -> Result<Class> {
    let text = generate::read(&wanted.file)?;
    // Told here before any node is bothered.
    generate::check(&text)?;
    let (trust, nodes) = whom(global, &wanted.reach)?;
    apply::run(global, nodes, trust, apply::What::Whole(text), wanted.how).await
}

/// Carries out a verb.
///
/// # Errors
/// What the node said, or that it was not reached.
pub async fn on(global: &Global, verb: Verb) -> Result<Class> {
    match verb {
        Verb::Apply(wanted) => give(global, wanted).await,
        Verb::Version => question(global, Question::Version).await,
        Verb::Services { what: None | Some(Services::List) } => question(global, Question::Services).await,
        Verb::Services { what: Some(Services::Restart { service }) } | Verb::Restart { service } => {
            question(global, Question::Restart(service)).await
        }
        Verb::Ps => question(global, Question::Processes).await,
        Verb::Mounts => question(global, Question::Mounts).await,
        Verb::Memory => question(global, Question::Memory).await,
        Verb::Cpu => question(global, Question::Cpu).await,
        Verb::Netstat { listening } => question(global, Question::Sockets(listening)).await,
        Verb::Routes => question(global, Question::Routes).await,
        Verb::List { path } => question(global, Question::List(path)).await,
        Verb::Time => question(global, Question::Time).await,
        Verb::Reboot(drain) => restart::run(global, Deed::Reboot, &drain).await,
        Verb::Shutdown(drain) => restart::run(global, Deed::Shutdown, &drain).await,
        Verb::Unlock { passphrase_file, reach } => unlock(global, &passphrase_file, &reach).await,
        Verb::Reset { state, data, all } => {
            named(global)?;
            question(global, Question::Reset { state, data, all }).await
        }
        Verb::Upgrade(wanted) => {
            // Told here before the node is bothered.
            image::open(&wanted.image)?;
            disk::upgrade(&mut single(global).await?, &wanted).await
        }
        Verb::Install(wanted) => install(global, &wanted).await,
        Verb::Rollback(drain) => restart::run(global, Deed::RollBack, &drain).await,
        Verb::Certificates(Certificates::List) => question(global, Question::Certificates).await,
        Verb::Disks(reach) => {
            let (trust, nodes) = whom(global, &reach)?;
            everywhere(global, nodes, trust, Question::Disks).await
        }
        Verb::Interfaces(reach) => {
            let (trust, nodes) = whom(global, &reach)?;
            everywhere(global, nodes, trust, Question::Interfaces).await
        }
        Verb::Logs { source, follow, tail } => {
            stream::lines(global, stream::Text::Logs(v1::LogsRequest { source, follow, tail })).await
        }
        Verb::Dmesg { follow, tail } => {
            stream::lines(global, stream::Text::Dmesg(v1::DmesgRequest { follow, tail })).await
        }
        Verb::Events { follow } => stream::lines(global, stream::Text::Events(follow)).await,
        Verb::Read { path } => stream::to_stdout(&mut single(global).await?, path).await,
        Verb::Capture(wanted) => stream::capture(&mut single(global).await?, wanted).await,
        Verb::Store(Store::Snapshot { file }) => stream::snapshot(&mut single(global).await?, &file).await,
        Verb::Store(Store::Restore { file }) => stream::restore(&mut single(global).await?, &file).await,
        Verb::Kubeconfig => kubeconfig(global).await,
        Verb::Certificates(Certificates::Rotate { secrets }) => rotate(global, &secrets).await,
    }
}

/// Tells how far pulls are: once, or as they go on.
///
/// # Errors
/// What the node said, or that it was not reached.
pub async fn pulls(global: &Global, follow: bool) -> Result<Class> {
    if follow { stream::lines(global, stream::Text::Pulls).await } else { question(global, Question::Pulls).await }
}

async fn unlock(global: &Global, passphrase_file: &Path, reach: &Reach) -> Result<Class> {
    let text = generate::read(passphrase_file)?;
    let passphrase = text.strip_suffix('\n').unwrap_or(&text).to_owned();
    let (trust, nodes) = whom(global, reach)?;
    everywhere(global, nodes, trust, Question::Unlock(passphrase)).await
}

async fn install(global: &Global, wanted: &Install) -> Result<Class> {
    image::open(&wanted.image)?;
    let (trust, nodes) = whom(global, &wanted.reach)?;
    let mut client = the_only(&nodes, &trust).await?;
    if wanted.dry_run {
        return plan::install(&mut client, wanted, global.print).await;
    }
    disk::install(&mut client, wanted).await
}

async fn kubeconfig(global: &Global) -> Result<Class> {
    let answer = single(global).await?.kubeconfig(Empty {}).await?.into_inner();
    output::write(answer.kubeconfig.as_bytes())?;
    Ok(Class::Good)
}

/// What cannot be undone is done to nodes that were named, never to all of the operator's file because somebody named none.
fn named(global: &Global) -> Result<()> {
    if global.nodes.is_empty() {
        return Err(Failure::new(Class::Usage, "name what to erase with -n HOST[,HOST…]").into());
    }
    Ok(())
}

/// The nodes that are meant, by the operator's file.
///
/// # Errors
/// There is no such file, or no node is named.
pub fn known(global: &Global) -> Result<(Trust, Vec<String>)> {
    let context = Context::load(global)?;
    let nodes = context.nodes(global)?;
    Ok((Trust::Authority(Box::new(context)), nodes))
}

/// As [`known`]; or, in maintenance mode, the one node of a fingerprint.
fn whom(global: &Global, reach: &Reach) -> Result<(Trust, Vec<String>)> {
    let (true, Some(fingerprint)) = (reach.insecure, &reach.fingerprint) else { return known(global) };
    if global.nodes.len() != 1 {
        return Err(Failure::new(Class::Usage, "a fingerprint is of one node: name it with -n").into());
    }
    Ok((Trust::Fingerprint(fingerprint.clone()), global.nodes.clone()))
}

/// The only node that is meant.
async fn single(global: &Global) -> Result<Client> {
    let (trust, nodes) = known(global)?;
    the_only(&nodes, &trust).await
}

async fn the_only(nodes: &[String], trust: &Trust) -> Result<Client> {
    match nodes {
        [node] => connect(node, trust).await,
        _ => Err(Failure::new(Class::Usage, "this is asked of one node: name it with -n").into()),
    }
}

async fn question(global: &Global, question: Question) -> Result<Class> {
    let (trust, nodes) = known(global)?;
    everywhere(global, nodes, trust, question).await
}

/// Asks all nodes at once; prints what came, and then what did not.
async fn everywhere(global: &Global, nodes: Vec<String>, trust: Trust, question: Question) -> Result<Class> {
    let (shape, details) = (question.shape(), question.details());
    let judged = matches!(question, Question::Validate(_));
    let (timeout, several) = (global.timeout, nodes.len() > 1);
    let answers = on_each(nodes, move |node| {
        let (trust, question) = (trust.clone(), question.clone());
        async move { in_time(timeout, async { ask(&mut connect(&node, &trust).await?, &question).await }).await }
    })
    .await;
    let (good, class) = sort_out(answers);
    let class = good.iter().map(|(node, answer)| verdict(node, answer)).fold(class, Class::max);
    match shape {
        // A table of what is wrong would be empty.
        Some(_) if judged && class == Class::Good && global.print == Format::Table => {
            good.iter().for_each(|(node, _)| println!("{node}: the config is good"));
        }
        Some(shape) => output::print(global.print, &shape, several, &good)?,
        None => output::done(global.print, "done", several, &good)?,
    }
    if let Some(details) = details.filter(|_| global.print == Format::Table && !good.is_empty()) {
        output::write(format!("\n{}", output::table(&details, several, &good)).as_bytes())?;
    }
    Ok(class)
}

/// What an answer itself comes to: a config that a node would refuse is wrong input, as it is when `rkctl` alone checks it.
fn verdict(node: &str, answer: &Value) -> Class {
    for key in answer.get("unknown_keys").and_then(Value::as_array).into_iter().flatten() {
        eprintln!("rkctl: {node}: unknown key {} has no effect", key.as_str().unwrap_or_default());
    }
    match answer.get("valid").and_then(Value::as_bool) {
        Some(false) => Class::Usage,
        _ => Class::Good,
    }
}

/// Bounds an exchange.
///
/// # Errors
/// What it failed with, or that it took too long.
pub async fn in_time<T>(limit: std::time::Duration, exchange: impl Future<Output = Result<T>>) -> Result<T> {
    match tokio::time::timeout(limit, exchange).await {
        Ok(result) => result,
        Err(_) => Err(Failure::new(Class::Unreachable, "no answer in time; --timeout allows for more").into()),
    }
}

/// Runs something for every node, a bounded number at once; the results are in the order of the nodes.
pub async fn on_each<T, F>(nodes: Vec<String>, mut each: impl FnMut(String) -> F) -> Vec<(String, Result<T>)>
where
    T: Send + 'static,
    F: Future<Output = Result<T>> + Send + 'static,
{
    let mut running = JoinSet::new();
    let mut results = Vec::new();
    for (place, node) in nodes.into_iter().enumerate() {
        if running.len() >= MOST_AT_ONCE
            && let Some(Ok(done)) = running.join_next().await
        {
            results.push(done);
        }
        let work = each(node.clone());
        running.spawn(async move { (place, node, work.await) });
    }
    while let Some(done) = running.join_next().await {
        results.extend(done);
    }
    results.sort_by_key(|(place, ..)| *place);
    results.into_iter().map(|(_, node, result)| (node, result)).collect()
}

/// Tells failures, and answers the rest with the worst class.
pub fn sort_out(answers: Vec<(String, Result<Value>)>) -> (Vec<(String, Value)>, Class) {
    let mut good = Vec::new();
    let mut class = Class::Good;
    for (node, answer) in answers {
        match answer {
            Ok(value) => good.push((node, value)),
            Err(err) => {
                eprintln!("rkctl: {node}: {}", words(&err));
                class = class.max(class_of_error(&err));
            }
        }
    }
    (good, class)
}

async fn rotate(global: &Global, secrets: &Path) -> Result<Class> {
    let secrets = generate::load(secrets)?;
    let (trust, nodes) = known(global)?;
    let (several, mut class) = (nodes.len() > 1, Class::Good);
    let mut done = Vec::new();
    // One after the other: a mistake must not reach them all.
    for node in nodes {
        let rotated = async {
            let mut client = connect(&node, &trust).await?;
            let request = client.request_certificate(Empty {}).await?.into_inner().request;
            let certificate = secrets.sign(&request)?;
            client.install_certificate(v1::InstallCertificateRequest { certificate }).await?;
            served_again(&node, &trust).await;
            anyhow::Ok(())
        };
        if let Err(err) = in_time(global.timeout, rotated).await.with_context(|| node.clone()) {
            eprintln!("rkctl: {}", words(&err));
            class = class.max(class_of_error(&err));
            continue;
        }
        let one = (node, json!({}));
        // A person hears of each as it goes.
        if global.print == Format::Table {
            output::done(Format::Table, "new certificate in use", several, std::slice::from_ref(&one))?;
        }
        done.push(one);
    }
    if global.print != Format::Table {
        output::done(global.print, "new certificate in use", several, &done)?;
    }
    Ok(class)
}

/// How often a node is asked whether its machine API has begun anew.
const LOOK: Duration = Duration::from_millis(250);

/// Waits until the machine API runs again, which starts anew with its new certificate. The caller bounds the time.
async fn served_again(node: &str, trust: &Trust) {
    loop {
        let asked = async { ask(&mut connect(node, trust).await?, &Question::Health).await };
        if asked.await.is_ok_and(|health| serves(&health)) {
            return;
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Whether nothing is said against the machine API in a report on health.
fn serves(health: &Value) -> bool {
    let mut checks = health.get("checks").and_then(Value::as_array).into_iter().flatten();
    !checks.any(|check| check["name"] == "service machine" && check["ok"] == false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_erased_on_nodes_that_were_not_named() {
        use clap::Parser;
        let global = |line: &str| crate::args::Args::try_parse_from(line.split(' ')).unwrap().global;
        let reset = Verb::Reset { state: false, data: false, all: true };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let refused = runtime.block_on(on(&global("rkctl reset --all"), reset)).unwrap_err();
        assert!(refused.to_string().starts_with("name what to erase"), "{refused}");
        assert!(named(&global("rkctl reset --all -n 10.0.0.11")).is_ok());
    }

    #[test]
    fn a_machine_api_serves_that_neither_stops_nor_starts() {
        for (ok, name, wanted) in
            [(true, "service machine", true), (false, "service machine", false), (false, "node", true)]
        {
            assert_eq!(serves(&json!({"checks": [{"name": name, "ok": ok}]})), wanted, "{name} {ok}");
        }
    }

    #[test]
    fn a_config_that_a_node_would_refuse_is_wrong_input() {
        for (answer, wanted) in [
            (json!({"valid": false, "errors": [{"path": "role", "reason": "is missing"}]}), Class::Usage),
            (json!({"valid": true, "unknown_keys": ["colour"]}), Class::Good),
            (json!({"services": []}), Class::Good),
        ] {
            assert_eq!(verdict("n", &answer), wanted, "{answer}");
        }
    }
}
