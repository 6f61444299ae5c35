# weir: build, run, test. `make help` lists the targets.
CC      ?= cc
BUILD   ?= build
PREFIX  ?= /usr/local
DESTDIR ?=
MODE    ?= release

VERSION := 0.1.0
STD     := -std=gnu11
WARN    := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla -Wpointer-arith \
           -Wwrite-strings -Wundef
ifneq ($(CI),)
WARN    += -Werror
endif

OPT_release := -O2 -g -fno-plt
OPT_debug   := -O0 -g3 -DWEIR_DEBUG
OPT_asan    := -O1 -g -DWEIR_DEBUG -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
OPT_tsan    := -O1 -g -DWEIR_DEBUG -fsanitize=thread -fno-omit-frame-pointer

ifeq ($(MODE),release)
OUT := $(BUILD)
else
OUT := $(BUILD)/$(MODE)
endif

PKGS      := libuv yaml-0.1
CPPFLAGS  += -I. -D_GNU_SOURCE -DWEIR_VERSION='"$(VERSION)"' $(shell pkg-config --cflags $(PKGS) 2>/dev/null)
# No Debian llhttp before 9.3 ships a .pc file.
LDLIBS    += $(shell pkg-config --libs $(PKGS) 2>/dev/null) -lllhttp -lpthread -lm
BASEFLAGS := $(STD) $(WARN) $(OPT_$(MODE)) -fno-common -MMD -MP

WEIR_SRC    := $(wildcard proxy/base/*.c proxy/net/*.c proxy/http/*.c proxy/upstream/*.c proxy/*.c \
                          balancer/*.c config/*.c)
WEIR_OBJ    := $(WEIR_SRC:%.c=$(OUT)/obj/%.o)
WEIR_MAIN   := $(OUT)/obj/proxy/main.o
LIB_OBJ     := $(filter-out $(WEIR_MAIN),$(WEIR_OBJ))
BACKEND_SRC := $(wildcard backends/*.c)
BACKEND_OBJ := $(BACKEND_SRC:%.c=$(OUT)/obj/%.o)
BACKEND_LIB := $(filter-out $(OUT)/obj/backends/hello.o $(OUT)/obj/backends/world.o,$(BACKEND_OBJ))
UNIT_SRC    := $(wildcard tests/unit/test_*.c)
UNIT_BIN    := $(UNIT_SRC:tests/unit/%.c=$(OUT)/tests/%)

.PHONY: all
all: $(OUT)/weir $(OUT)/hello $(OUT)/world

$(OUT)/weir: $(WEIR_MAIN) $(OUT)/libweir.a
	$(CC) $(BASEFLAGS) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(LDLIBS)

$(OUT)/libweir.a: $(LIB_OBJ)
	@rm -f $@
	$(AR) rcs $@ $^

$(OUT)/hello $(OUT)/world: $(OUT)/%: $(OUT)/obj/backends/%.o $(BACKEND_LIB)
	$(CC) $(BASEFLAGS) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(LDLIBS)

$(OUT)/obj/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(BASEFLAGS) $(CFLAGS) -c -o $@ $<

# A unit test is one program; it links the whole of weir but main.
$(OUT)/tests/%: $(OUT)/obj/tests/unit/%.o $(OUT)/libweir.a
	@mkdir -p $(@D)
	$(CC) $(BASEFLAGS) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(LDLIBS) -lcmocka

.PHONY: unit
unit: $(UNIT_BIN)
	@set -e; for t in $(UNIT_BIN); do echo "== $$t"; $$t; done

.PHONY: clean
clean:
	rm -rf $(BUILD)

.SECONDARY:
-include $(WEIR_OBJ:.o=.d) $(BACKEND_OBJ:.o=.d) $(UNIT_SRC:%.c=$(OUT)/obj/%.d)
