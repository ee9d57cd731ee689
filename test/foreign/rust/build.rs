fn main() -> std::io::Result<()> {
    tonic_prost_build::configure()
        .build_server(false)
        // The rules of fields, which nothing that is generated refers to: no code is made of them.
        .extern_path(".buf.validate", "::buf_validate")
        // Modules nested as the packages are: the messages of one refer to those of another by `super::super::…`.
        .include_file("protos.rs")
        .compile_protos(
            &["proto/mustreach/msg/v1/msg.proto", "proto/mustreach/delivery/v1/delivery.proto"],
            &["proto"],
        )
}
