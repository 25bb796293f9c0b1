//! Who is believed what: tags by those who were asked for them, challenges by those whose credentials are wanted.

use std::sync::atomic::Ordering::SeqCst;

use rk_images::{Auth, ErrorKind};
use tokio_util::sync::CancellationToken;

use crate::registry::{Fault, Registry, layer};
use crate::{open, pull};

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_beside_a_digest_is_nobody_s_name() {
    let registry = Registry::start().await;
    let dir = tempfile::tempdir().expect("tempdir");
    let images = open(dir.path(), vec![]).await;
    let repository = format!("{}/app", registry.address);
    let name = format!("{repository}:1");
    let id = |name: &str| images.status(name).map(|image| image.id);
    registry.image("app", "1", &[layer(&[("f", 0o644, "old")])], "{}");
    let old = pull(&images, &name).await.expect("pull");
    let digested = images.status(&name).expect("image").repo_digests.first().cloned().expect("a digest");
    let digest = digested.strip_prefix(&format!("{repository}@")).expect("of the repository");
    registry.image("app", "1", &[layer(&[("f", 0o644, "new")])], "{}");
    let new = pull(&images, &name).await.expect("pull");
    assert_ne!(old, new);
    for tag in ["1", "2"] {
        let both = format!("{repository}:{tag}@{digest}");
        assert_eq!(pull(&images, &both).await.expect("pull"), old);
        assert_eq!(id(&both).as_ref(), Some(&old));
    }
    assert_eq!(id(&name), Some(new), "the tag is what the registry said last");
    assert_eq!(id(&format!("{repository}:2")), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_that_a_registry_redirects_to_is_told_no_credentials() {
    let (registry, elsewhere) = (Registry::start().await, Registry::start().await);
    for one in [&registry, &elsewhere] {
        one.image("app", "x", &[layer(&[("f", 0o644, "content")])], "{}");
    }
    registry.fault(Fault::Elsewhere(elsewhere.address));
    elsewhere.guard("Bearer", "user", "s3cret");
    let dir = tempfile::tempdir().expect("tempdir");
    let images = open(dir.path(), vec![]).await;
    let name = format!("{}/app:x", registry.address);
    let auth = Auth::Basic { username: "user".into(), password: "s3cret".into() };
    let refused = images.pull(&name, Some(auth), CancellationToken::new()).await.expect_err("a stranger's challenge");
    assert_eq!(refused.kind(), ErrorKind::Denied, "{refused}");
    assert!(refused.to_string().contains(&format!("redirected to {}", elsewhere.address)), "{refused}");
    assert_eq!(elsewhere.requests.load(SeqCst), 1, "it was asked for a token, too");

    let open_to_all = Registry::start().await;
    open_to_all.image("app", "x", &[layer(&[("f", 0o644, "content")])], "{}");
    registry.fault(Fault::Elsewhere(open_to_all.address));
    pull(&images, &name).await.expect("from where it was redirected to");
    assert_eq!(open_to_all.requests.load(SeqCst), 1, "the layer");
}
