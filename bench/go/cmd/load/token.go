package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"os"
	"time"
)

const (
	adminPlatform = 10
	webPlatform   = 5
)

// mint signs a token of a user, in OpenIM's form, with the secret of the environment.
func mint(user string, platform int) string {
	now := time.Now()
	claims, _ := json.Marshal(map[string]any{
		"UserID": user, "PlatformID": platform, "iat": now.Unix(), "exp": now.Add(2 * time.Hour).Unix(),
		"iatMs": now.UnixMilli(),
	})
	encode := base64.RawURLEncoding.EncodeToString
	signed := encode([]byte(`{"alg":"HS256","typ":"JWT"}`)) + "." + encode(claims)
	mac := hmac.New(sha256.New, []byte(os.Getenv("BENCH_TOKEN_SECRET")))
	mac.Write([]byte(signed))
	return signed + "." + encode(mac.Sum(nil))
}

func adminToken() string { return mint("imAdmin", adminPlatform) }
