use super::*;
use oci_spec::runtime::Spec;
use rk_cri_api::v1::{
    KeyValue, LinuxContainerConfig, LinuxContainerResources, Mount, MountPropagation, NamespaceOption, SecurityProfile,
};

struct Case {
    config: ContainerConfig,
    image: ImageConfig,
    namespaces: PodNamespaces,
    devices: Vec<Device>,
    users: Option<UserMapping>,
    volumes: Vec<(PathBuf, PathBuf)>,
}

impl Default for Case {
    fn default() -> Self {
        let image = ImageConfig {
            entrypoint: vec!["/entry".into()],
            cmd: vec!["serve".into()],
            env: vec!["A=image".into(), "B=image".into()],
            working_dir: "/srv".into(),
            ..Default::default()
        };
        Self {
            config: ContainerConfig::default(),
            image,
            namespaces: PodNamespaces::default(),
            devices: Vec::new(),
            users: None,
            volumes: Vec::new(),
        }
    }
}

fn secure(security: LinuxContainerSecurityContext) -> ContainerConfig {
    let linux = LinuxContainerConfig { resources: None, security_context: Some(security) };
    ContainerConfig { linux: Some(linux), ..Default::default() }
}

/// The spec as the shim reads it.
fn built(case: &Case) -> Result<Value, String> {
    let spec = build(&Inputs {
        config: &case.config,
        hostname: "pod-1",
        image: &case.image,
        rootfs: Path::new("/rootfs"),
        cgroup: Path::new("/kubepods/podx/c"),
        user: &User { uid: 5, gid: 6, groups: vec![6, 7], home: "/home/u".into() },
        namespaces: case.namespaces.clone(),
        users: case.users,
        pod_files: vec![("/etc/hosts", "/state/hosts".into()), ("/dev/shm", "/run/shm".into())],
        volumes: case.volumes.clone(),
        devices: case.devices.clone(),
        local_seccomp: None,
    })?;
    let spec: Spec = serde_json::from_value(spec).expect("what is built is an OCI spec");
    serde_json::to_value(spec).map_err(|e| e.to_string())
}

#[test]
fn command_and_args_follow_the_table_of_the_pod_api() {
    let own = |words: &[&str]| words.iter().map(ToString::to_string).collect::<Vec<_>>();
    for (command, args, expected) in [
        (&[][..], &[][..], &["/entry", "serve"][..]),
        (&[], &["x"], &["/entry", "x"]),
        (&["/bin/a"], &[], &["/bin/a"]),
        (&["/bin/a"], &["x"], &["/bin/a", "x"]),
    ] {
        let config = ContainerConfig { command: own(command), args: own(args), ..Default::default() };
        let spec = built(&Case { config, ..Default::default() }).unwrap();
        assert_eq!(spec["process"]["args"], json!(expected));
    }
    let image = ImageConfig { entrypoint: own(&[""]), cmd: own(&["serve", "it"]), ..Default::default() };
    let taken_back = built(&Case { image, ..Default::default() }).unwrap();
    assert_eq!(taken_back["process"]["args"], json!(["serve", "it"]), "an entrypoint that is a single empty word");
    let empty = Case { image: ImageConfig::default(), ..Default::default() };
    assert_eq!(built(&empty).unwrap_err(), "no command specified");
}

#[test]
fn the_pods_environment_wins_over_the_images_and_keeps_its_order() {
    let pair = |key: &str, value: &[u8]| KeyValue { key: key.into(), value: value.to_vec() };
    let envs = vec![pair("B", b"pod"), pair("C", b"a=b"), pair("RAW", b"\xffr")];
    let spec = built(&Case { config: ContainerConfig { envs, tty: true, ..Default::default() }, ..Default::default() })
        .unwrap();
    let env: Vec<_> = spec["process"]["env"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert_eq!(
        &env[1..],
        ["HOSTNAME=pod-1", "TERM=xterm", "A=image", "B=pod", "C=a=b", "RAW=\u{10feff}r", "HOME=/home/u"]
    );
    assert_eq!(rk_sys::text_as_bytes(env[6]), b"RAW=\xffr");
    assert!(env[0].starts_with("PATH=/usr/local/sbin"));
}

#[test]
fn identity_directory_and_score_are_carried_over() {
    let linux = LinuxContainerConfig {
        resources: Some(LinuxContainerResources { oom_score_adj: -997, ..Default::default() }),
        security_context: Some(LinuxContainerSecurityContext { no_new_privs: true, ..Default::default() }),
    };
    let spec =
        built(&Case { config: ContainerConfig { linux: Some(linux), ..Default::default() }, ..Default::default() })
            .unwrap();
    let process = &spec["process"];
    assert_eq!(process["user"]["uid"], 5);
    assert_eq!(process["user"]["additionalGids"], json!([6, 7]));
    assert_eq!(process["cwd"], "/srv");
    assert_eq!(process["oomScoreAdj"], -997);
    assert_eq!(process["noNewPrivileges"], true);
    let plain = built(&Case::default()).unwrap();
    assert!(
        plain["process"].get("noNewPrivileges").is_none(),
        "unset rather than false: libcontainer takes false for set"
    );
}

#[test]
fn namespaces_are_the_pods_the_nodes_or_new() {
    let pod = PodNamespaces {
        user: None,
        network: Some("/run/netns/x".into()),
        ipc: Some("/ns/ipc".into()),
        uts: None,
        pid: PidNamespace::Join("/ns/pid".into()),
    };
    let spec = built(&Case { namespaces: pod, ..Default::default() }).unwrap();
    assert_eq!(
        spec["linux"]["namespaces"],
        json!([{"type": "mount"}, {"type": "network", "path": "/run/netns/x"}, {"type": "ipc", "path": "/ns/ipc"},
               {"type": "pid", "path": "/ns/pid"}, {"type": "cgroup"}])
    );
    let host = PodNamespaces { pid: PidNamespace::Host, ..Default::default() };
    let config = secure(LinuxContainerSecurityContext { privileged: true, ..Default::default() });
    let spec = built(&Case { config, namespaces: host, ..Default::default() }).unwrap();
    assert_eq!(spec["linux"]["namespaces"], json!([{"type": "mount"}]));
}

#[test]
fn a_container_that_names_no_namespaces_has_the_pods_processes() {
    let named = |pid: NamespaceMode| {
        let options = NamespaceOption { pid: pid.into(), target_id: "t".into(), ..Default::default() };
        pid_mode(&secure(LinuxContainerSecurityContext { namespace_options: Some(options), ..Default::default() }))
    };
    for pid in [NamespaceMode::Pod, NamespaceMode::Container, NamespaceMode::Node, NamespaceMode::Target] {
        assert_eq!(named(pid), (pid, "t".to_owned()));
    }
    for silent in [ContainerConfig::default(), secure(LinuxContainerSecurityContext::default())] {
        assert_eq!(pid_mode(&silent), (NamespaceMode::Pod, String::new()));
    }
}

#[test]
fn a_privileged_container_is_not_confined() {
    let security = LinuxContainerSecurityContext {
        privileged: true,
        masked_paths: vec!["/proc/kcore".into()],
        seccomp: Some(SecurityProfile::default()),
        ..Default::default()
    };
    let spec = built(&Case { config: secure(security), ..Default::default() }).unwrap();
    assert!(spec["linux"].get("seccomp").is_none() && spec["linux"].get("maskedPaths").is_none());
    assert_eq!(spec["linux"]["resources"]["devices"], json!([{"allow": true, "access": "rwm"}]));
    assert_eq!(spec["process"]["capabilities"]["effective"].as_array().unwrap().len(), 41);
    let sys = spec["mounts"].as_array().unwrap().iter().find(|m| m["destination"] == "/sys").unwrap();
    assert!(sys["options"].as_array().unwrap().contains(&json!("rw")));
}

#[test]
fn seccomp_is_what_was_asked_for_or_an_error() {
    let with = |profile_type: i32| {
        let seccomp = Some(SecurityProfile { profile_type, localhost_ref: "/p.json".into() });
        built(&Case {
            config: secure(LinuxContainerSecurityContext { seccomp, ..Default::default() }),
            ..Default::default()
        })
    };
    assert_eq!(with(0).unwrap()["linux"]["seccomp"]["defaultAction"], "SCMP_ACT_ERRNO");
    assert!(with(1).unwrap()["linux"].get("seccomp").is_none());
    assert!(with(2).unwrap_err().contains("/p.json"));
}

#[test]
fn mounts_of_the_pod_replace_defaults_and_come_parents_first() {
    let bind = |path: &str, readonly, propagation: MountPropagation| Mount {
        container_path: path.into(),
        host_path: format!("/host{path}"),
        readonly,
        propagation: propagation.into(),
        ..Default::default()
    };
    let mounts = vec![
        bind("/data/deep", true, MountPropagation::PropagationPrivate),
        bind("/data", false, MountPropagation::PropagationBidirectional),
        bind("/etc/hosts", false, MountPropagation::PropagationPrivate),
        bind("/dev", false, MountPropagation::PropagationPrivate),
    ];
    let spec = built(&Case { config: ContainerConfig { mounts, ..Default::default() }, ..Default::default() }).unwrap();
    let all = spec["mounts"].as_array().unwrap();
    let at = |path: &str| all.iter().position(|m| m["destination"] == path).unwrap();
    assert!(at("/data") < at("/data/deep"));
    assert_eq!(all.iter().filter(|m| m["destination"] == "/etc/hosts").count(), 1);
    assert_eq!(all[at("/etc/hosts")]["source"], "/host/etc/hosts");
    assert_eq!(all[at("/data")]["options"], json!(["rbind", "rshared", "rw"]));
    assert_eq!(all[at("/data/deep")]["options"], json!(["rbind", "rprivate", "ro"]));
    assert_eq!(spec["linux"]["rootfsPropagation"], "shared");
    assert_eq!(all[at("/dev/shm")]["source"], "/run/shm");
    let dev: Vec<_> = all.iter().filter(|m| m["destination"] == "/dev").map(|m| &m["source"]).collect();
    assert_eq!(dev, ["tmpfs", "/host/dev"], "its own stays below, for the shim");
}

#[test]
fn a_device_is_made_and_allowed() {
    let device = Device {
        path: "/dev/kvm".into(),
        host: "/dev/kvm".into(),
        block: false,
        major: 10,
        minor: 232,
        mode: 0o660,
        uid: 0,
        gid: 7,
        access: "rw".into(),
    };
    // Elsewhere it is the host's node that the container sees.
    let elsewhere = Device { path: "/mnt/raw".into(), host: "/dev/sdb".into(), block: true, ..device.clone() };
    let told = built(&Case { devices: vec![elsewhere], ..Default::default() }).unwrap();
    assert_eq!(told["linux"]["devices"], json!([]));
    assert_eq!(told["linux"]["resources"]["devices"].as_array().unwrap().last().unwrap()["type"], "b");
    let bound =
        json!({"destination": "/mnt/raw", "type": "bind", "source": "/dev/sdb", "options": ["bind", "rprivate", "rw"]});
    assert_eq!(told["mounts"].as_array().unwrap().last(), Some(&bound));
    let spec = built(&Case { devices: vec![device], ..Default::default() }).unwrap();
    assert_eq!(spec["linux"]["devices"][0]["path"], "/dev/kvm");
    let rules = spec["linux"]["resources"]["devices"].as_array().unwrap();
    assert_eq!(rules.first().unwrap()["allow"], false);
    assert_eq!(rules.last().unwrap(), &json!({"allow": true, "type": "c", "major": 10, "minor": 232, "access": "rw"}));
}

#[test]
fn a_pod_with_its_own_users_has_mapped_mounts_and_namespaces_that_are_its_own() {
    let range = IdRange { host: 65_536, length: 65_536 };
    let image = rk_cri_api::v1::ImageSpec { image: "busybox".into(), ..Default::default() };
    let at = |path: &str| Mount { container_path: path.into(), host_path: "/v".into(), ..Default::default() };
    let mut config = secure(LinuxContainerSecurityContext { privileged: true, ..Default::default() });
    config.mounts = vec![at("/data"), Mount { image: Some(image), ..at("/image") }];
    let namespaces = PodNamespaces { user: Some("/ns/user".into()), ..Default::default() };
    let users = Some(UserMapping { uids: range, gids: range });
    let spec = built(&Case { config, namespaces, users, ..Default::default() }).unwrap();
    let ids = json!([{"containerID": 0, "hostID": 65536, "size": 65536}]);
    assert_eq!((&spec["linux"]["uidMappings"], &spec["linux"]["gidMappings"]), (&ids, &ids));
    let kinds: Vec<_> = spec["linux"]["namespaces"].as_array().unwrap().iter().map(|n| n["type"].clone()).collect();
    assert_eq!(kinds, ["mount", "user", "pid", "cgroup"]);
    for (path, mapped) in
        [("/data", true), ("/etc/hosts", true), ("/dev/shm", true), ("/image", false), ("/proc", false)]
    {
        let mount = spec["mounts"].as_array().unwrap().iter().find(|m| m["destination"] == path).unwrap();
        assert_eq!(mount.get("uidMappings").is_some(), mapped, "{path}");
        assert_eq!(mount.get("gidMappings").is_some(), mapped, "{path}");
    }
}

#[test]
fn volumes_of_an_image_are_written_to_below_a_read_only_root_too() {
    let volumes = vec![("/etc/app".into(), "/root/etc/app".into()), ("/etc".into(), "/root/etc".into())];
    for (readonly_rootfs, bound) in
        [(true, vec!["/etc", "/etc/app", "/etc/hosts", "/dev/shm"]), (false, vec!["/etc/hosts", "/dev/shm"])]
    {
        let config = secure(LinuxContainerSecurityContext { readonly_rootfs, ..Default::default() });
        let users = Some(UserMapping {
            uids: IdRange { host: 65536, length: 65536 },
            gids: IdRange { host: 65536, length: 65536 },
        });
        let spec = built(&Case { config, users, volumes: volumes.clone(), ..Default::default() }).unwrap();
        let mounts: Vec<_> = spec["mounts"].as_array().unwrap().iter().filter(|m| m["type"] == "bind").collect();
        let places: Vec<_> = mounts.iter().filter_map(|m| m["destination"].as_str()).collect();
        assert_eq!(places, bound);
        for of_image in mounts.iter().filter(|m| m["source"].as_str().is_some_and(|source| source.starts_with("/root")))
        {
            assert_eq!(of_image["options"], json!(["rbind", "rprivate", "rw"]));
            assert!(of_image["uidMappings"].is_null(), "it is mapped twice");
        }
    }
}
