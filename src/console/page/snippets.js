// @ts-check

/**
 * How a call of REST is written in each language, ready to run: the token is taken from the environment variable TOKEN.
 *
 * @type {Record<string, (url: string, body: Record<string, unknown>) => string>}
 */
export const snippets = {
  curl: (url, body) => `curl -sS ${url} \\
  -H "operationID: $(date +%s)" -H "token: $TOKEN" \\
  -d ${shellQuote(JSON.stringify(body))}`,

  JavaScript: (url, body) => `const response = await fetch(${JSON.stringify(url)}, {
  method: "POST",
  headers: { operationID: String(Date.now()), token: process.env.TOKEN },
  body: JSON.stringify(${indent(JSON.stringify(body, null, 2))}),
});
console.log(await response.json());`,

  Python: (url, body) => `import json, os, time, urllib.request

body = ${toPython(body)}
headers = {"operationID": str(time.time_ns()), "token": os.environ["TOKEN"]}
request = urllib.request.Request(${JSON.stringify(url)}, json.dumps(body).encode(), headers)
with urllib.request.urlopen(request) as response:
    print(json.load(response))`,

  Go: (url, body) => `package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
)

func main() {
	body := ${textOf(body)}
	request, err := http.NewRequest("POST", ${JSON.stringify(url)}, strings.NewReader(body))
	if err != nil {
		panic(err)
	}
	request.Header.Set("operationID", "1")
	request.Header.Set("token", os.Getenv("TOKEN"))
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		panic(err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	fmt.Println(string(answer), err)
}`,

  Java: (url, body) => `import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse.BodyHandlers;

public class Send {
  public static void main(String[] args) throws Exception {
    var body = ${textOf(body)};
    var request = HttpRequest.newBuilder(URI.create(${JSON.stringify(url)}))
        .header("operationID", "1")
        .header("token", System.getenv("TOKEN"))
        .POST(HttpRequest.BodyPublishers.ofString(body))
        .build();
    System.out.println(HttpClient.newHttpClient().send(request, BodyHandlers.ofString()).body());
  }
}`,

  "C#": (url, body) => `using var client = new HttpClient();
client.DefaultRequestHeaders.Add("operationID", "1");
client.DefaultRequestHeaders.Add("token", Environment.GetEnvironmentVariable("TOKEN"));
var body = ${textOf(body)};
var response = await client.PostAsync(${JSON.stringify(url)}, new StringContent(body));
Console.WriteLine(await response.Content.ReadAsStringAsync());`,
};

/** @param {string} text */
function shellQuote(text) {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

/**
 * JSON as a string literal. Go, Java and C# read the escapes of a JSON string as JSON does.
 *
 * @param {object} body
 */
function textOf(body) {
  return JSON.stringify(JSON.stringify(body));
}

/** @param {string} text */
function indent(text) {
  return text.replaceAll("\n", "\n  ");
}

/**
 * A dict. Python reads the escapes of a JSON string as JSON does.
 *
 * @param {Record<string, unknown>} body
 */
function toPython(body) {
  const items = Object.entries(body).map(([name, value]) => {
    const literal = typeof value === "boolean" ? (value ? "True" : "False") : JSON.stringify(value);
    return `    ${JSON.stringify(name)}: ${literal},\n`;
  });
  return `{\n${items.join("")}}`;
}
