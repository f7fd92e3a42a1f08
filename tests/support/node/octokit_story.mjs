// What an ordinary Octokit program does with GITHUB_API_URL and GITHUB_TOKEN: prints one JSON object, step by step.
// Each step is {ok, status, value} or {ok, status, error, body}; `origins` is where its requests really went.
import { Octokit } from "octokit";

const baseUrl = process.env.GITHUB_API_URL;
const owner = process.env.STORY_OWNER ?? "acme-corp";
const repo = process.env.STORY_REPO ?? "backend";
const forbidden = process.env.STORY_FORBIDDEN_REPO ?? "payroll";

const origins = new Set();
const quiet = { debug() {}, info() {}, warn() {}, error() {} };

function client(auth) {
  const octokit = new Octokit({ auth, baseUrl, log: quiet });
  octokit.hook.before("request", (options) => {
    const { url } = octokit.request.endpoint(options);
    origins.add(url.startsWith(baseUrl + "/") ? baseUrl : new URL(url).origin);
  });
  return octokit;
}

async function step(act) {
  try {
    return { ok: true, ...(await act()) };
  } catch (error) {
    return {
      ok: false,
      name: error.name,
      status: error.status ?? null,
      error: error.message,
      type: error.response?.headers?.["content-type"] ?? null,
      body: error.response?.data ?? null,
    };
  }
}

const octokit = client(process.env.GITHUB_TOKEN);
const steps = {};

steps.repository = await step(async () => {
  const { status, data } = await octokit.rest.repos.get({ owner, repo });
  return { status, value: { id: data.id, full_name: data.full_name, url: data.url } };
});
steps.first_page = await step(async () => {
  const { status, data, headers } = await octokit.rest.issues.listForRepo({ owner, repo });
  return { status, value: { count: data.length, link: headers.link ?? null } };
});
steps.all_pages = await step(async () => {
  const issues = await octokit.paginate(octokit.rest.issues.listForRepo, { owner, repo, per_page: 30 });
  return { status: 200, value: { count: issues.length, last: issues.at(-1).title } };
});
steps.pull_by_its_url = await step(async () => {
  const { data: pulls } = await octokit.rest.pulls.list({ owner, repo });
  const { status, data } = await octokit.request(`GET ${pulls[0].url}`);
  return { status, value: { number: data.number, title: data.title, url: data.url } };
});
steps.write = await step(async () => {
  const { status, data } = await octokit.rest.issues.create({ owner, repo, title: "From Octokit" });
  return { status, value: { number: data.number } };
});
steps.other_repository = await step(async () => {
  const { status, data } = await octokit.rest.repos.get({ owner, repo: forbidden });
  return { status, value: { full_name: data.full_name } };
});
steps.stranger = await step(async () => {
  const { status, data } = await client("ghp_nobody000000000000000000000000000000").rest.repos.get({ owner, repo });
  return { status, value: { full_name: data.full_name } };
});

console.log(JSON.stringify({ steps, origins: [...origins] }));
