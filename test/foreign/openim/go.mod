module example.com/client

go 1.24

require (
	github.com/gorilla/websocket v1.5.3
	google.golang.org/protobuf v1.36.12
	mustreach v0.0.0
)

replace mustreach => ./gen/mustreach
