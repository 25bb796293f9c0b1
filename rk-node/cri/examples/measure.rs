//! Times the runtime of a node, and others beside it, from a privileged pod on that node. Prints lines of `what<TAB>milliseconds`.
//!
//! ```text
//! measure cycles N              containers that are created, run /bin/true and are removed, in one sandbox
//! measure shim N BUNDLE         containers that a shim by itself creates and runs to their end, of BUNDLE/spec.json
//! measure program N PROGRAM…    a program that does the same, run to its end N times
//! measure pull IMAGE            pull and unpack an image that is not there
//! ```

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rk_cri_api::v1::*;
use rk_cri_api::{ImageServiceClient, RuntimeServiceClient, connect};
use rk_shim_protocol::{CONFIG_FILE, Decoder, Reply, Request, SandboxConfig, StartContainer, encode, socket};

type Result<T, E = Box<dyn std::error::Error + Send + Sync>> = std::result::Result<T, E>;

const SOCKET: &str = "/run/rk/cri.sock";
const IMAGE: &str = "rk.local/busybox:demo";
const SHIM: &str = "rk-shim";
/// The cgroup that the bundle names: who calls the shim makes it.
const CGROUP: &str = "/sys/fs/cgroup/bench";
const LIMIT: Duration = Duration::from_secs(30);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["cycles", count] => cycles(count.parse()?).await,
        ["shim", count, bundle] => shim(count.parse()?, Path::new(bundle)),
        ["program", count, program, rest @ ..] => programs(count.parse()?, program, rest),
        ["pull", image] => pull(image).await,
        _ => Err("usage: measure cycles N | shim N BUNDLE | program N PROGRAM… | pull IMAGE".into()),
    }
}

/// Median and worst, as two lines.
fn tell(mut times: Vec<Duration>) {
    times.sort();
    let at = |index: usize| times.get(index).copied().unwrap_or_default().as_secs_f64() * 1e3;
    println!("median\t{:.1}\nworst\t{:.1}", at(times.len() / 2), at(times.len().saturating_sub(1)));
}

async fn cycles(count: usize) -> Result<()> {
    let mut runtime = RuntimeServiceClient::new(connect(SOCKET));
    let options = NamespaceOption { pid: NamespaceMode::Container.into(), ..Default::default() };
    let security = LinuxSandboxSecurityContext { namespace_options: Some(options.clone()), ..Default::default() };
    let sandbox_config = PodSandboxConfig {
        metadata: Some(PodSandboxMetadata {
            name: "measured".into(),
            uid: "measured".into(),
            namespace: "measure".into(),
            attempt: 0,
        }),
        linux: Some(LinuxPodSandboxConfig {
            cgroup_parent: "/kubepods/measured".into(),
            security_context: Some(security),
            ..Default::default()
        }),
        ..Default::default()
    };
    let request = RunPodSandboxRequest { config: Some(sandbox_config.clone()), runtime_handler: String::new() };
    let sandbox = runtime.run_pod_sandbox(request).await?.into_inner().pod_sandbox_id;
    let mut times = Vec::new();
    for turn in 0..count {
        let security = LinuxContainerSecurityContext { namespace_options: Some(options.clone()), ..Default::default() };
        let config = ContainerConfig {
            metadata: Some(ContainerMetadata { name: format!("c{turn}"), attempt: 0 }),
            image: Some(ImageSpec { image: IMAGE.into(), ..Default::default() }),
            command: vec!["/bin/true".into()],
            linux: Some(LinuxContainerConfig { resources: None, security_context: Some(security) }),
            ..Default::default()
        };
        let begin = Instant::now();
        let request = CreateContainerRequest {
            pod_sandbox_id: sandbox.clone(),
            config: Some(config),
            sandbox_config: Some(sandbox_config.clone()),
        };
        let id = runtime.create_container(request).await?.into_inner().container_id;
        runtime.start_container(StartContainerRequest { container_id: id.clone() }).await?;
        ended(&mut runtime, &id).await?;
        runtime.remove_container(RemoveContainerRequest { container_id: id }).await?;
        times.push(begin.elapsed());
    }
    runtime.stop_pod_sandbox(StopPodSandboxRequest { pod_sandbox_id: sandbox.clone() }).await?;
    runtime.remove_pod_sandbox(RemovePodSandboxRequest { pod_sandbox_id: sandbox }).await?;
    tell(times);
    Ok(())
}

async fn ended(runtime: &mut RuntimeServiceClient<tonic::transport::Channel>, id: &str) -> Result<()> {
    let begin = Instant::now();
    loop {
        let request = ContainerStatusRequest { container_id: id.to_owned(), verbose: false };
        let status = runtime.container_status(request).await?.into_inner().status.unwrap_or_default();
        if status.state() == ContainerState::ContainerExited {
            return Ok(());
        }
        if begin.elapsed() > LIMIT {
            return Err(format!("container {id} does not end").into());
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

fn shim(count: usize, bundle: &Path) -> Result<()> {
    let home = bundle.join("home");
    fs::create_dir_all(&home)?;
    let config = SandboxConfig { id: "measured".into(), ..SandboxConfig::default() };
    fs::write(home.join(CONFIG_FILE), serde_json::to_vec(&config)?)?;
    let started = Command::new(SHIM).arg("run").arg(&home).stdin(Stdio::null()).output()?;
    if !started.status.success() {
        return Err(format!("{SHIM}: {}", String::from_utf8_lossy(&started.stderr)).into());
    }
    let times = (0..count).map(|turn| turn_of_shim(&home, bundle, &format!("s{turn}"))).collect::<Result<Vec<_>>>();
    Talk::begin(&home, &Request::Shutdown)?.reply()?;
    tell(times?);
    Ok(())
}

/// One container from its cgroup to its removal.
fn turn_of_shim(home: &Path, bundle: &Path, id: &str) -> Result<Duration> {
    let start = StartContainer {
        id: id.to_owned(),
        bundle: bundle.to_owned(),
        log_path: None,
        stdin: false,
        stdin_once: false,
        tty: false,
    };
    let mut exits = Talk::begin(home, &Request::Subscribe)?;
    exits.reply()?;
    let begin = Instant::now();
    fs::create_dir_all(CGROUP)?;
    Talk::begin(home, &Request::Start(start))?.reply()?;
    let exit = loop {
        match exits.reply()? {
            Reply::Exited { container, exit } if container == id => break exit,
            _ => {}
        }
    };
    Talk::begin(home, &Request::Remove { container: id.to_owned() })?.reply()?;
    fs::remove_dir(CGROUP)?;
    let took = begin.elapsed();
    if exit.code == 0 { Ok(took) } else { Err(format!("container {id} ended with {}", exit.code).into()) }
}

/// A connection to the shim.
struct Talk {
    stream: UnixStream,
    decoder: Decoder,
}

impl Talk {
    fn begin(home: &Path, request: &Request) -> Result<Self> {
        let mut stream = UnixStream::connect(socket(home))?;
        stream.set_read_timeout(Some(LIMIT))?;
        stream.write_all(&encode(request)?)?;
        Ok(Self { stream, decoder: Decoder::default() })
    }

    /// What the shim says next; a failure is an error.
    fn reply(&mut self) -> Result<Reply> {
        loop {
            match self.decoder.take::<Reply>()? {
                Some(Reply::Failed(failure)) => return Err(failure.message.into()),
                Some(reply) => return Ok(reply),
                None => {}
            }
            let mut buffer = [0; 4096];
            let read = self.stream.read(&mut buffer)?;
            if read == 0 {
                return Err("the shim ended".into());
            }
            self.decoder.push(buffer.get(..read).unwrap_or_default());
        }
    }
}

fn programs(count: usize, program: &str, args: &[&str]) -> Result<()> {
    let mut times = Vec::new();
    for turn in 0..count {
        let id = format!("m{turn}");
        let args = args.iter().map(|arg| if *arg == "ID" { id.as_str() } else { *arg });
        let begin = Instant::now();
        let out = Command::new(program).args(args).stdin(Stdio::null()).output()?;
        times.push(begin.elapsed());
        if !out.status.success() {
            return Err(format!("{program}: {}{}", out.status, String::from_utf8_lossy(&out.stderr)).into());
        }
    }
    tell(times);
    Ok(())
}

async fn pull(image: &str) -> Result<()> {
    let mut images = ImageServiceClient::new(connect(SOCKET));
    let spec = ImageSpec { image: image.to_owned(), ..Default::default() };
    let begin = Instant::now();
    images.pull_image(PullImageRequest { image: Some(spec), auth: None, sandbox_config: None }).await?;
    println!("pull\t{:.1}", begin.elapsed().as_secs_f64() * 1e3);
    Ok(())
}
