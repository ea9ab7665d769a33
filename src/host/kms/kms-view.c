// SPDX-License-Identifier: Apache-2.0
/*
 * Asking the KMS at its mapped port. It changes its protocol there: plain HTTP while it has
 * no keys, TLS afterwards. Root connects, because until the KMS is verified the guard lets
 * nobody else.
 */
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/sock.h"
#include "base/strbuf.h"
#include "host/peer/answer.h"
#include "host/kms/kms-view.h"
#include "host/kms/kms.h"

enum {
	/* GetMeta makes the KMS ask its chain; healthy is a quarter of a second. */
	META_MS = 5000,
	/* Bootstrap makes a quote. */
	BOOTSTRAP_MS = 60000,
	BODY_MAX = 1 << 20,
};

/* A request over a new connection; its fd is to be closed. 0 or -errno. */
static int prepare(unsigned port, const char *url, struct peer_request *ret)
{
	struct hostport at = { .host = "127.0.0.1", .port = (uint16_t)port };

	*ret = (struct peer_request){
		.kind = PEER_HTTP,
		.url = url,
		.fd = sock_tcp_start(&at),
		.timeout_ms = META_MS,
		.max_body = BODY_MAX,
	};
	return ret->fd < 0 ? ret->fd : 0;
}

static int ask_one(struct peer_request *request, struct peer_answer *answer)
{
	int r = peer_ask(request, 1, answer);

	close(request->fd);
	return r;
}

/* Base64 of the certificate to PEM; NULL when it is anything else. */
static char *pem_of(const char *base64)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
				     "0123456789+/";
	_cleanup_strbuf_ struct strbuf out = { 0 };
	size_t n = base64 ? strlen(base64) : 0, body = base64 ? strspn(base64, digits) : 0;

	if (!n || n % 4 || n > 12000 || n - body > 2 || strspn(base64 + body, "=") != n - body)
		return NULL;
	sb_add(&out, "-----BEGIN CERTIFICATE-----\n");
	for (size_t i = 0; i < n; i += 64) {
		sb_addn(&out, base64 + i, n - i < 64 ? n - i : 64);
		sb_addc(&out, '\n');
	}
	sb_add(&out, "-----END CERTIFICATE-----\n");
	return sb_steal(&out);
}

static char *copy(const char *s)
{
	return s ? xstrdup(s) : NULL;
}

static void judge_meta(const struct peer_answer *a, struct kms_view *v)
{
	_cleanup_free_ char *trouble = answer_trouble(a, 200);

	v->ca_pem = pem_of(peer_get(a, "ca"));
	if (trouble || !v->ca_pem) {
		v->phase = KMS_TROUBLED;
		v->detail = xasprintf("GetMeta: %s", trouble ? trouble : "no CA certificate");
		return;
	}
	v->phase = KMS_READY;
	v->detail = xasprintf("GetMeta in %u ms", a->ms);
	v->contract = copy(peer_get(a, "contract"));
	v->chain = copy(peer_get(a, "chain"));
	v->app_auth = copy(peer_get(a, "app_auth"));
}

void kms_view_of(const struct peer_answer *meta, const struct peer_answer *page,
		 struct kms_view *v)
{
	*v = (struct kms_view){ .phase = KMS_SILENT };
	if (meta->error == PEER_OK) {
		judge_meta(meta, v);
	} else if (page->error == PEER_OK && peer_get(page, "onboarding")) {
		v->phase = KMS_ONBOARDING;
		v->detail = xstrdup("it has no keys yet (onboarding)");
	} else if (meta->error == PEER_TIMEOUT && page->error != PEER_TIMEOUT) {
		/* TLS is there, the answer is not: fact K1, a chain endpoint that hangs. */
		v->phase = KMS_TROUBLED;
		v->detail = xstrdup("GetMeta gives no answer in time: its chain endpoint");
	} else {
		v->phase = KMS_SILENT;
		v->detail = xasprintf("no answer yet (%.200s)",
				      meta->text ? meta->text : "nothing");
	}
}

int kms_prepare_meta(unsigned port, struct peer_request *ret)
{
	int r = prepare(port, "https://127.0.0.1/prpc/KMS.GetMeta", ret);

	ret->digest = kms_digest_meta;
	return r;
}

int kms_prepare_page(unsigned port, struct peer_request *ret)
{
	int r = prepare(port, "http://127.0.0.1/", ret);

	ret->digest = kms_digest_page;
	return r;
}

int kms_view(unsigned port, struct kms_view *ret)
{
	struct peer_request q[2];
	struct peer_answer a[2] = { 0 };
	int r = kms_prepare_meta(port, &q[0]);

	*ret = (struct kms_view){ .phase = KMS_SILENT };
	if (r == 0) {
		r = kms_prepare_page(port, &q[1]);
		if (r < 0)
			close(q[0].fd);
	}
	if (r < 0) {
		ret->detail = xasprintf("nothing listens on 127.0.0.1:%u (%s)", port, strerror(-r));
		return 0;
	}
	r = peer_ask(q, 2, a);
	close(q[0].fd);
	close(q[1].fd);
	if (r < 0)
		return r;
	kms_view_of(&a[0], &a[1], ret);
	peer_answers_free(a, 2);
	return 0;
}

/* 0; 1: *trouble tells, the caller's; or -errno. */
static int ask_trouble(struct peer_request *q, int status, char **trouble)
{
	struct peer_answer a = { 0 };
	int r = ask_one(q, &a);

	if (r == 0)
		*trouble = answer_trouble(&a, status);
	peer_answers_free(&a, 1);
	return r < 0 ? r : *trouble != NULL;
}

int kms_check_certificate(unsigned port, const char *name, const char *ca_pem, char **trouble)
{
	_cleanup_free_ char *url = xasprintf("https://%s/prpc/KMS.GetMeta", name);
	struct peer_request q;
	int r = prepare(port, url, &q);

	*trouble = NULL;
	q.ca_pem = ca_pem;
	return r < 0 ? r : ask_trouble(&q, 0, trouble);
}

int kms_finish(unsigned port, char **trouble)
{
	struct peer_request q;
	int r = prepare(port, "http://127.0.0.1/finish", &q);

	*trouble = NULL;
	return r < 0 ? r : ask_trouble(&q, 200, trouble);
}

int kms_bootstrap(unsigned port, const char *name, char **trouble)
{
	json_t *doc = json_pack("{s:s}", "domain", name);
	_cleanup_free_ char *body = doc ? json_dumps(doc, JSON_COMPACT) : NULL;
	struct peer_request q;
	int r = prepare(port, "http://127.0.0.1/prpc/Onboard.Bootstrap?json", &q);

	json_decref(doc);
	if (!body)
		out_of_memory();
	*trouble = NULL;
	q.body = body;
	q.content_type = "application/json";
	q.timeout_ms = BOOTSTRAP_MS;
	q.digest = kms_digest_bootstrap;
	return r < 0 ? r : ask_trouble(&q, 200, trouble);
}

char *kms_disobeys(const struct kms_view *v, const struct settings *s)
{
	const struct {
		const char *says, *what;
		enum key_id id;
	} cases[] = {
		{ v->contract, "contract", KEY_KMS_CONTRACT },
		{ v->chain, "chain", KEY_CHAIN_ID },
		{ v->app_auth, "app auth implementation", KEY_APP_AUTH_IMPLEMENTATION },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		const char *wanted = setting(s, cases[i].id);

		if (!*wanted)
			continue;
		if (!cases[i].says)
			return xasprintf("it names no %s, %s demands %s", cases[i].what,
					 keys[cases[i].id].name, wanted);
		if (strcasecmp(cases[i].says, wanted) != 0)
			return xasprintf("its %s is %.80s, %s demands %s", cases[i].what,
					 cases[i].says, keys[cases[i].id].name, wanted);
	}
	return NULL;
}

int kms_verdict(const struct root *root, const struct settings *s, const struct kms_view *view,
		char **wrong)
{
	_cleanup_free_ char *ca = NULL;
	int r = kms_ca_load(root, &ca);

	*wrong = r < 0 ? NULL : kms_disobeys(view, s);
	if (r < 0)
		return r;
	if (!*wrong && ca && strcmp(ca, view->ca_pem) != 0)
		*wrong = xstrdup("it shows another CA than the one on record in " KMS_CA);
	if (*wrong)
		return KMS_WRONG;
	return ca ? 0 : KMS_UNVERIFIED;
}

void kms_view_free(struct kms_view *view)
{
	free(view->detail);
	free(view->ca_pem);
	free(view->contract);
	free(view->chain);
	free(view->app_auth);
	*view = (struct kms_view){ 0 };
}
