use rk_cri_api::ImageService;
use rk_cri_api::v1::*;
use rk_images::Auth;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use super::Service;
use super::lists::{Chunks, in_chunks};
use crate::clock::now_ns;
use crate::error::Error;
use crate::runtime::Runtime;
use crate::sandbox;

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl ImageService for Service {
    type StreamImagesStream = Chunks<StreamImagesResponse>;

    async fn list_images(&self, request: Request<ListImagesRequest>) -> Answer<ListImagesResponse> {
        Ok(Response::new(ListImagesResponse { images: list(&self.0, request.into_inner().filter) }))
    }

    async fn stream_images(&self, request: Request<StreamImagesRequest>) -> Answer<Self::StreamImagesStream> {
        let images = list(&self.0, request.into_inner().filter);
        Ok(Response::new(in_chunks(images, |images| StreamImagesResponse { images })))
    }

    async fn image_status(&self, request: Request<ImageStatusRequest>) -> Answer<ImageStatusResponse> {
        let request = request.into_inner();
        let found = self.0.config.images.status(&name(request.image)?);
        let mut info = std::collections::HashMap::new();
        if let Some(image) = found.as_ref().filter(|_| request.verbose) {
            let config: serde_json::Value = serde_json::from_str(&image.raw_config).unwrap_or_default();
            info.insert("info".to_owned(), serde_json::json!({"imageSpec": config}).to_string());
        }
        Ok(Response::new(ImageStatusResponse { image: found.as_ref().map(view), info }))
    }

    async fn pull_image(&self, request: Request<PullImageRequest>) -> Answer<PullImageResponse> {
        let request = request.into_inner();
        sandbox::known_handler(request.image.as_ref().map_or("", |image| image.runtime_handler.as_str()))?;
        let image = name(request.image)?;
        let host = rk_images::registry_host(&image).map_err(Error::from)?;
        let auth = request.auth.map(|told| auth(told, &host)).transpose()?.flatten();
        // Dropped with the request: a client that gives up cancels its pull, unless another waits for the same one.
        let cancel = CancellationToken::new();
        let _guard = cancel.clone().drop_guard();
        let id = self.0.config.images.pull(&image, auth, cancel).await.map_err(Error::from)?;
        tracing::info!(image, id = %id, "pulled an image");
        Ok(Response::new(PullImageResponse { image_ref: id.to_string() }))
    }

    async fn remove_image(&self, request: Request<RemoveImageRequest>) -> Answer<RemoveImageResponse> {
        let image = name(request.into_inner().image)?;
        let images = self.0.config.images.clone();
        Runtime::detached(async move { images.remove(&image).await.map_err(Error::from) }).await?;
        Ok(Response::new(RemoveImageResponse {}))
    }

    async fn image_fs_info(&self, _: Request<ImageFsInfoRequest>) -> Answer<ImageFsInfoResponse> {
        let info = self.0.config.images.fs_info().await.map_err(Error::from)?;
        let usage = FilesystemUsage {
            timestamp: now_ns(),
            fs_id: Some(FilesystemIdentifier { mountpoint: info.mountpoint.to_string_lossy().into_owned() }),
            used_bytes: Some(UInt64Value { value: info.used_bytes }),
            inodes_used: Some(UInt64Value { value: info.used_inodes }),
        };
        Ok(Response::new(ImageFsInfoResponse {
            image_filesystems: vec![usage.clone()],
            container_filesystems: vec![usage],
        }))
    }
}

fn name(image: Option<ImageSpec>) -> Result<String, Status> {
    let name = image.map(|image| image.image).unwrap_or_default();
    if name.is_empty() { Err(Status::invalid_argument("the image's name is missing")) } else { Ok(name) }
}

fn list(runtime: &Runtime, filter: Option<ImageFilter>) -> Vec<Image> {
    match filter.and_then(|filter| filter.image).map(|image| image.image).filter(|name| !name.is_empty()) {
        Some(name) => runtime.config.images.status(&name).iter().map(view).collect(),
        None => runtime.config.images.list().iter().map(view).collect(),
    }
}

fn view(image: &rk_images::Image) -> Image {
    let user = image.config.user.split(':').next().unwrap_or_default();
    let uid = if user.is_empty() { Some(0) } else { user.parse::<i64>().ok() };
    Image {
        id: image.id.to_string(),
        repo_tags: image.repo_tags.clone(),
        repo_digests: image.repo_digests.clone(),
        size: image.size.max(1),
        username: if uid.is_some() { String::new() } else { user.to_owned() },
        uid: uid.map(|value| Int64Value { value }),
        spec: None,
        pinned: image.pinned,
    }
}

/// Credentials in whichever of CRI's four forms they come, unless they are told to be for another host than the registry's, as containerd
/// has it: a server address that is no URL is that of none.
fn auth(auth: AuthConfig, host: &str) -> Result<Option<Auth>, Status> {
    if !auth.server_address.is_empty() && host_of(&auth.server_address) != host {
        return Ok(None);
    }
    if !auth.registry_token.is_empty() {
        return Ok(Some(Auth::RegistryToken(auth.registry_token)));
    }
    if !auth.identity_token.is_empty() {
        return Ok(Some(Auth::IdentityToken(auth.identity_token)));
    }
    if !auth.username.is_empty() {
        return Ok(Some(Auth::Basic { username: auth.username, password: auth.password }));
    }
    if auth.auth.is_empty() {
        return Ok(None);
    }
    let wrong = || Status::invalid_argument("the pull secret's auth field is not base64 of user:password");
    let text =
        base64::Engine::decode(&base64::engine::general_purpose::STANDARD, auth.auth.trim()).map_err(|_| wrong())?;
    let text = String::from_utf8(text).map_err(|_| wrong())?;
    let (username, password) = text.split_once(':').ok_or_else(wrong)?;
    Ok(Some(Auth::Basic { username: username.to_owned(), password: password.trim_end_matches('\0').to_owned() }))
}

/// The host of a URL, with its port where it is told; empty where there is none, as in `registry.example:5000`.
fn host_of(url: &str) -> &str {
    let rest = url.split_once(':').filter(|(scheme, _)| !scheme.contains('/')).map_or(url, |(_, rest)| rest);
    let authority = rest.strip_prefix("//").and_then(|rest| rest.split(['/', '?', '#']).next()).unwrap_or_default();
    authority.rsplit_once('@').map_or(authority, |(_, host)| host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_for_the_registry_whose_address_is_told_with_them() {
        let of = |image: &str, server_address: &str| {
            let told = AuthConfig { username: "u".into(), server_address: server_address.into(), ..Default::default() };
            let host = rk_images::registry_host(image).unwrap();
            auth(told, &host).unwrap().is_some()
        };
        for (image, server_address, used) in [
            ("r.example/a", "", true),
            ("r.example/a", "https://r.example", true),
            ("r.example/a", "https://u:p@r.example/v2/?x#y", true),
            ("r.example:5000/a", "http://r.example:5000/a:b", true),
            ("r.example/a", "//r.example/", true),
            ("r.example/a", "https://r.example:443", false),
            ("r.example/a", "https://other.example/r.example", false),
            ("r.example/a", "https://r.example.evil/", false),
            ("r.example/a", "r.example", false),
            ("r.example:5000/a", "r.example:5000", false),
            ("nginx", "https://registry-1.docker.io/v2/", true),
            ("nginx", "https://docker.io", false),
        ] {
            assert_eq!(of(image, server_address), used, "{image} {server_address}");
        }
    }

    #[test]
    fn credentials_are_read_in_every_form() {
        let basic = Some(Auth::Basic { username: "u".into(), password: "p:q".into() });
        for (config, expected) in [
            (AuthConfig::default(), None),
            (AuthConfig { username: "u".into(), password: "p:q".into(), ..Default::default() }, basic.clone()),
            (AuthConfig { auth: "dTpwOnE=".into(), ..Default::default() }, basic),
            (AuthConfig { identity_token: "i".into(), ..Default::default() }, Some(Auth::IdentityToken("i".into()))),
            (
                AuthConfig { registry_token: "r".into(), username: "u".into(), ..Default::default() },
                Some(Auth::RegistryToken("r".into())),
            ),
        ] {
            assert_eq!(auth(config, "r.example").unwrap(), expected);
        }
        assert!(auth(AuthConfig { auth: "%".into(), ..Default::default() }, "r.example").is_err());
    }
}
