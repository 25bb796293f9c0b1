//! The gRPC face of the fake runtime's images.

use rk_cri_api::ImageService;
use rk_cri_api::v1 as cri;
use tonic::{Request, Status};

use super::fake_cri::FakeCri;
use super::stubs::{Answer, Never, ok};

#[tonic::async_trait]
impl ImageService for FakeCri {
    type StreamImagesStream = Never<cri::StreamImagesResponse>;

    async fn list_images(&self, _: Request<cri::ListImagesRequest>) -> Answer<cri::ListImagesResponse> {
        let images = self
            .state()
            .images
            .iter()
            .map(|i| cri::Image { id: i.clone(), repo_tags: vec![i.clone()], ..Default::default() })
            .collect();
        ok(cri::ListImagesResponse { images })
    }

    async fn stream_images(&self, _: Request<cri::StreamImagesRequest>) -> Answer<Self::StreamImagesStream> {
        Err(Status::unimplemented("stream"))
    }

    async fn image_status(&self, request: Request<cri::ImageStatusRequest>) -> Answer<cri::ImageStatusResponse> {
        let name = request.into_inner().image.unwrap_or_default().image;
        let known = self.state().images.contains(&name);
        let image = known.then(|| cri::Image {
            id: name,
            size: 7,
            uid: Some(cri::Int64Value { value: 0 }),
            ..Default::default()
        });
        ok(cri::ImageStatusResponse { image, ..Default::default() })
    }

    async fn pull_image(&self, request: Request<cri::PullImageRequest>) -> Answer<cri::PullImageResponse> {
        self.count("PullImage");
        let name = request.into_inner().image.unwrap_or_default().image;
        let mut state = self.state();
        if state.broken_images.contains(&name) {
            return Err(Status::not_found(format!("{name}: not found")));
        }
        state.images.push(name.clone());
        ok(cri::PullImageResponse { image_ref: name })
    }

    async fn remove_image(&self, request: Request<cri::RemoveImageRequest>) -> Answer<cri::RemoveImageResponse> {
        self.state().removed_images.push(request.into_inner().image.unwrap_or_default().image);
        ok(cri::RemoveImageResponse {})
    }

    async fn image_fs_info(&self, _: Request<cri::ImageFsInfoRequest>) -> Answer<cri::ImageFsInfoResponse> {
        ok(cri::ImageFsInfoResponse::default())
    }
}
